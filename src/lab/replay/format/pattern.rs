//! Lines as an nginx `log_format` describes them: texts, and variables between them.

use std::borrow::Cow;

use super::super::entry::{Entry, Part, SessionKey, cookie};
use super::super::time;
use crate::lab::report::words;

/// A `log_format`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it was given.
    text: String,
    pieces: Vec<Piece>,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// A variable of which we know what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    RemoteAddr,
    RemoteUser,
    TimeLocal,
    TimeIso8601,
    Msec,
    RequestTime,
    UpstreamResponseTime,
    /// `$http_x_user` is `x_user`.
    Header(String),
    /// `$cookie_sid` is `sid`.
    Cookie(String),
    Other,
}

impl Pattern {
    /// Takes a `log_format` apart. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            } else if let Some(Piece::Variable(_)) = pieces.last() {
                return Err(format!("nothing tells where a variable ends, before {rest:?}"));
            }
            let name = rest[at + 1..].trim_start_matches('{');
            let length =
                name.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let (name, after) = name.split_at(length);
            pieces.push(Piece::Variable(variable(name)));
            rest = after
                .strip_prefix('}')
                .filter(|_| rest[at + 1..].starts_with('{'))
                .unwrap_or(after);
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let pattern = Pattern { text: text.to_owned(), pieces };
        let is_time = |v: &Variable| {
            matches!(v, Variable::TimeLocal | Variable::TimeIso8601 | Variable::Msec)
        };
        let has_time = pattern.variables().any(is_time);
        let why = "it has none of $time_local, $time_iso8601 and $msec";
        has_time.then_some(pattern).ok_or_else(|| why.into())
    }

    /// As it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Text(_) => None,
        })
    }

    /// The session keys that are in it, in words.
    pub(super) fn keys(&self) -> String {
        let key = |variable: &Variable| match variable {
            Variable::RemoteAddr => Some("address".to_owned()),
            Variable::RemoteUser => Some("user".to_owned()),
            Variable::Header(name) if name == "user_agent" => Some("user-agent".to_owned()),
            Variable::Header(name) if name == "cookie" => Some("cookie:NAME".to_owned()),
            Variable::Header(name) => Some(format!("header:{}", name.replace('_', "-"))),
            Variable::Cookie(name) => Some(format!("cookie:{name}")),
            _ => None,
        };
        match &self.variables().filter_map(key).collect::<Vec<_>>()[..] {
            [] => "nothing".into(),
            keys => words::list(keys),
        }
    }

    pub(super) fn has_user_agent(&self) -> bool {
        self.variables().any(|v| *v == Variable::Header("user_agent".into()))
    }

    pub(super) fn parse(&self, line: &str, key: &SessionKey) -> Result<Entry, &'static str> {
        let values = self.values(line).ok_or("it does not have the format")?;
        let get = |wanted: &Variable| {
            values.iter().find(|(variable, _)| *variable == wanted).map(|(_, value)| *value)
        };
        let local = || get(&Variable::TimeLocal).and_then(time::common);
        let iso = || get(&Variable::TimeIso8601).and_then(time::iso);
        let exact = get(&Variable::Msec).and_then(time::epoch);
        let (end, grain) = exact.or_else(iso).or_else(local).ok_or("it has no time")?;
        let whole = get(&Variable::RequestTime).and_then(time::seconds);
        // Several, if several backends were tried: the last one answered.
        let last =
            |times: &str| times.rsplit([',', ':']).next().and_then(|t| time::seconds(t.trim()));
        let upstream = get(&Variable::UpstreamResponseTime).and_then(last);
        let header =
            |name: &str| get(&Variable::Header(name.to_ascii_lowercase().replace('-', "_")));
        let field = |part: &Part| match part {
            Part::Session => None,
            Part::User => get(&Variable::RemoteUser).map(Cow::Borrowed),
            Part::Address => get(&Variable::RemoteAddr).map(Cow::Borrowed),
            Part::UserAgent => header("user-agent").map(Cow::Borrowed),
            Part::Header(name) => header(name).map(Cow::Borrowed),
            Part::Cookie(name) => get(&Variable::Cookie(name.clone()))
                .or_else(|| header("cookie").and_then(|all| cookie(all, name)))
                .map(Cow::Borrowed),
        };
        // A line is written when the answer has gone out.
        let at = end.saturating_sub(whole.or(upstream).unwrap_or_default());
        Ok(Entry { at, grain, key: key.hash(field), took: upstream.or(whole) })
    }

    /// Every variable with its value; `None` if the line does not have the format. What follows
    /// its end is not looked at.
    fn values<'s, 'l>(&'s self, line: &'l str) -> Option<Vec<(&'s Variable, &'l str)>> {
        let mut values = Vec::with_capacity(self.pieces.len());
        let mut rest = line;
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Variable(variable) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => find(rest, text)?,
                        _ => rest.len(), // the last one ends with the line
                    };
                    values.push((variable, &rest[..end]));
                    rest = &rest[end..];
                }
            }
        }
        Some(values)
    }
}

/// Where the text is; a quote that is escaped by a backslash, as Apache writes it, is none.
fn find(rest: &str, text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + rest.get(from..)?.find(text)?;
        let backslashes = rest[..at].bytes().rev().take_while(|b| *b == b'\\').count();
        if !text.starts_with('"') || backslashes.is_multiple_of(2) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn variable(name: &str) -> Variable {
    match name {
        "remote_addr" | "realip_remote_addr" => Variable::RemoteAddr,
        "remote_user" => Variable::RemoteUser,
        "time_local" => Variable::TimeLocal,
        "time_iso8601" => Variable::TimeIso8601,
        "msec" => Variable::Msec,
        "request_time" => Variable::RequestTime,
        "upstream_response_time" => Variable::UpstreamResponseTime,
        other => match (other.strip_prefix("http_"), other.strip_prefix("cookie_")) {
            (Some(header), _) => Variable::Header(header.to_ascii_lowercase()),
            (_, Some(cookie)) => Variable::Cookie(cookie.to_owned()),
            (None, None) => Variable::Other,
        },
    }
}

//! Caddy's access log: a JSON object a line, written when the answer has gone out. `ts` may be a
//! number or, with `time_format`, an ISO time. Cookies are there with `log_credentials` only.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::entry::{Entry, Part, SessionKey, cookie};
use super::super::time;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    ts: &'a RawValue,
    #[serde(borrow)]
    request: Request<'a>,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    duration: Option<f64>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    client_ip: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    remote_ip: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    headers: HashMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
}

pub(super) fn parse(line: &[u8], key: &SessionKey) -> Result<Entry, &'static str> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "not a line of Caddy's")?;
    let ts = line.ts.get().trim_matches('"');
    let (end, grain) = time::epoch(ts).or_else(|| time::iso(ts)).ok_or("it has no time")?;
    let took = line.duration.filter(|seconds| (0.0..1e9).contains(seconds));
    let took = took.map(|seconds| (seconds * 1e9) as u64);
    let request = &line.request;
    let header = |name: &str| {
        let mut headers = request.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.and_then(|(_, values)| values.first())
    };
    let field = |part: &Part| match part {
        Part::Session => None,
        Part::User => line.user_id.clone(),
        Part::Address => request.client_ip.clone().or_else(|| request.remote_ip.clone()),
        Part::UserAgent => header("user-agent").cloned(),
        Part::Header(name) => header(name).cloned(),
        Part::Cookie(name) => {
            header("cookie").and_then(|all| cookie(all, name)).map(|v| Cow::Owned(v.to_owned()))
        }
    };
    let at = end.saturating_sub(took.unwrap_or_default());
    Ok(Entry { at, grain, key: key.hash(field), took })
}

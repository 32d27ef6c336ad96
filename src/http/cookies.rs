//! Where in the `Cookie` lines is ours, and what are they without it?
//!
//! Browsers, servers and other proxies have made many things of cookies: several of one name,
//! quotes that never close, no blanks after semicolons or too many, a second `Cookie` line. So
//! nothing is parsed into a map and put together again. Like a browser (RFC 6265bis, section
//! 5.6), we cut lines at semicolons, whatever quotes say; the app's cookies pass byte for byte.

use std::ops::Range;

use memchr::memchr;
use memchr::memmem::Finder;

/// What a `Cookie` line begins with.
const NAME: &[u8] = b"cookie: ";

/// Finds the cookies of one name.
#[derive(Clone, Debug)]
pub struct CookieName {
    finder: Finder<'static>,
    len: usize,
    /// Only values of this length count.
    value_len: Option<usize>,
}

/// A cookie in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie {
    /// The whole of it, with the semicolon before it if there is one.
    whole: Range<usize>,
    value: Range<usize>,
}

impl CookieName {
    /// A name; cookie names are compared with their case.
    pub fn new(name: &str) -> Self {
        let finder = Finder::new(name.as_bytes()).into_owned();
        CookieName { finder, len: name.len(), value_len: None }
    }

    /// The same, but a cookie of this name counts only if its value has this length: somebody
    /// else may use the name for something of their own.
    #[must_use]
    pub fn with_values_of(self, value_len: usize) -> Self {
        CookieName { value_len: Some(value_len), ..self }
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// The values of all cookies of this name, in the order of the `Cookie` lines.
    pub fn values<'a>(
        &'a self,
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> {
        lines.flat_map(|line| self.cookies(line).map(move |cookie| &line[cookie.value]))
    }

    /// Writes a `Cookie` line without the cookies of these names, byte for byte otherwise; nothing
    /// if nothing else is in it. `seen` is told of each one that is left out: the index of its
    /// name, and its value.
    pub fn write_without(
        names: &[CookieName],
        line: &[u8],
        to: &mut Vec<u8>,
        mut seen: impl FnMut(usize, &[u8]),
    ) {
        let start = to.len();
        to.reserve(NAME.len() + line.len() + 2);
        to.extend_from_slice(NAME);
        let content = to.len();
        let mut at = 0;
        while let Some((index, cookie)) = CookieName::first_of(names, line, at) {
            seen(index, &line[cookie.value]);
            to.extend_from_slice(&line[at..cookie.whole.start.max(at)]);
            at = cookie.whole.end;
            if to.len() == content {
                // Nothing is in front of it, so the semicolon behind it goes with it.
                at = skip_blanks(line, at + usize::from(line.get(at) == Some(&b';')));
            }
        }
        to.extend_from_slice(&line[at..]);
        if at > 0 && to[content..].iter().all(|b| matches!(b, b';' | b' ' | b'\t')) {
            to.truncate(start);
        } else {
            to.extend_from_slice(b"\r\n");
        }
    }

    /// The first cookie from `at` on that has one of these names, and the index of that.
    fn first_of(names: &[CookieName], line: &[u8], at: usize) -> Option<(usize, Cookie)> {
        let firsts =
            names.iter().enumerate().filter_map(|(i, name)| Some((i, name.first(line, at)?)));
        firsts.min_by_key(|(_, cookie)| cookie.whole.start)
    }

    /// The first cookie of this name from `at` on.
    fn first(&self, line: &[u8], mut at: usize) -> Option<Cookie> {
        loop {
            let start = at + self.finder.find(&line[at..])?;
            if let Some(cookie) = self.cookie_at(line, start) {
                return Some(cookie);
            }
            at = start + self.len;
        }
    }

    /// The cookies of this name in a line.
    fn cookies<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = Cookie> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let cookie = self.first(line, at)?;
            at = cookie.value.end;
            Some(cookie)
        })
    }

    /// The cookie whose name stands at `start`, if that is a cookie's beginning and all of its
    /// name.
    fn cookie_at(&self, line: &[u8], start: usize) -> Option<Cookie> {
        let before = trim_end(line, start);
        let is_first = before == 0;
        if !is_first && line[before - 1] != b';' {
            return None;
        }
        let equals = skip_blanks(line, start + self.len);
        if line.get(equals) != Some(&b'=') {
            return None;
        }
        let end = memchr(b';', &line[equals..]).map_or(line.len(), |i| equals + i);
        let whole = before.saturating_sub(1)..end;
        let value = value_within(line, equals + 1, end);
        self.value_len.is_none_or(|len| len == value.len()).then_some(Cookie { whole, value })
    }
}

/// The value between `start` and `end`, without blanks and one pair of quotes around it.
fn value_within(line: &[u8], start: usize, end: usize) -> Range<usize> {
    let start = skip_blanks(&line[..end], start);
    let end = start.max(trim_end(line, end));
    match &line[start..end] {
        [b'"', .., b'"'] => start + 1..end - 1,
        _ => start..end,
    }
}

fn skip_blanks(line: &[u8], at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

fn trim_end(line: &[u8], end: usize) -> usize {
    end - line[..end].iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values of `s`, and the lines without it.
    fn split(lines: &[&str]) -> (Vec<String>, Vec<String>) {
        let name = CookieName::new("s");
        let lines = || lines.iter().map(|line| line.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut rest = Vec::new();
        for line in lines() {
            CookieName::write_without(std::slice::from_ref(&name), line, &mut rest, |_, _| {});
        }
        let rest = text(&rest);
        let rest = rest.split_terminator("\r\n").map(|line| line["cookie: ".len()..].to_owned());
        (name.values(lines()).map(text).collect(), rest.collect())
    }

    #[test]
    fn ours_is_found_wherever_it_is_and_the_rest_stays_byte_for_byte() {
        for (line, values, rest) in [
            ("s=1", vec!["1"], vec![]),
            ("a=b; s=1", vec!["1"], vec!["a=b"]),
            ("s=1; a=b", vec!["1"], vec!["a=b"]),
            ("a=b; s=1; c=d", vec!["1"], vec!["a=b; c=d"]),
            ("a=b;s=1;c=d", vec!["1"], vec!["a=b;c=d"]),
            ("a=b ;  s = 1 ;c=d", vec!["1"], vec!["a=b ;c=d"]),
            ("a=\"unbalanced; s=1; c=\"", vec!["1"], vec!["a=\"unbalanced; c=\""]),
            ("s=\"1\"; a=b", vec!["1"], vec!["a=b"]),
            ("s=1; a=b; s=3", vec!["1", "3"], vec!["a=b"]),
            ("s=1; s=2; a=b; s=3", vec!["1", "2", "3"], vec!["a=b"]),
            ("s=; a=b", vec![""], vec!["a=b"]),
            ("a=b; s=1;", vec!["1"], vec!["a=b;"]),
            (";; s=1", vec!["1"], vec![]),
            (
                "ss=1; xs=2; s2=3; a=s=4; a= s=5; S=6; s",
                vec![],
                vec!["ss=1; xs=2; s2=3; a=s=4; a= s=5; S=6; s"],
            ),
            ("a=\u{e4}; s=1", vec!["1"], vec!["a=\u{e4}"]),
            ("s=a=b", vec!["a=b"], vec![]),
        ] {
            let expected: (Vec<&str>, Vec<&str>) = (values, rest);
            let (values, rest) = split(&[line]);
            assert_eq!(
                (
                    values.iter().map(String::as_str).collect(),
                    rest.iter().map(String::as_str).collect()
                ),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn every_line_is_searched() {
        let (values, rest) = split(&["a=b", "s=1", "c=d; s=2"]);
        assert_eq!(
            (values, rest),
            (vec!["1".into(), "2".into()], vec!["a=b".into(), "c=d".into()])
        );
        assert_eq!(split(&[]), (vec![], vec![]));
    }

    #[test]
    fn several_names_come_out_of_one_line() {
        let names = ["s", "t", "u"].map(CookieName::new).map(|name| match name.as_bytes() {
            b"u" => name.with_values_of(3),
            _ => name,
        });
        let without = |line: &[u8]| {
            let mut rest = Vec::new();
            CookieName::write_without(&names, line, &mut rest, |_, _| {});
            String::from_utf8(rest).unwrap()
        };
        assert_eq!(without(b"a=b; s=1; t=2; u=333; c=d"), "cookie: a=b; c=d\r\n");
        let mut seen = Vec::new();
        let line = b"u=333; t=1; a=b; t=2";
        let see = |index, value: &[u8]| seen.push((index, value.to_owned()));
        CookieName::write_without(&names, line, &mut Vec::new(), see);
        assert_eq!(seen, [(2, b"333".to_vec()), (1, b"1".to_vec()), (1, b"2".to_vec())]);
        assert_eq!(without(b"u=333; t=1; a=b"), "cookie: a=b\r\n");
        assert_eq!(without(b"u=55555; s=1"), "cookie: u=55555\r\n", "that is not ours");
        assert_eq!(without(b"s=1; t=2; u=333"), "");
        assert_eq!(without(b"a=b"), "cookie: a=b\r\n");
    }

    proptest! {
        /// Any cookies, and ours among them: ours is found, the others stay as they are.
        #[test]
        fn ours_comes_out_of_anything(
            others in proptest::collection::vec("[a-r=\" ,]{0,8}", 0..6),
            place in 0usize..6,
            blank in proptest::bool::ANY,
        ) {
            let separator = if blank { "; " } else { ";" };
            let place = place.min(others.len());
            let mut with: Vec<String> = others.clone();
            with.insert(place, "s=token".into());
            let (values, rest) = split(&[&with.join(separator)]);
            prop_assert_eq!(values, vec!["token".to_owned()]);
            let pieces = |line: &str| -> Vec<String> {
                line.split(';').map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
            };
            let kept: Vec<String> = rest.iter().flat_map(|line| pieces(line)).collect();
            prop_assert_eq!(kept, pieces(&others.join(separator)));
        }

        #[test]
        fn nothing_panics(line in "[ -~]{0,40}") {
            split(&[&line]);
        }
    }
}

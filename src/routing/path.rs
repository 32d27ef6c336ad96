//! Paths: exact, prefix, and what dots do to them.

use std::borrow::Cow;

use memchr::memchr2;

/// What the path of a request must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// Exactly this path.
    Exact(Box<str>),
    /// This path or one below it, segment by segment: `/api` matches `/api/v2` and not `/apis`.
    /// Kept without a slash at the end, so that `/` is empty and matches everything.
    Prefix(Box<str>),
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch::Prefix("".into())
    }
}

impl PathMatch {
    /// This path only.
    pub fn exact(path: &str) -> Result<Self, String> {
        check(path)?;
        Ok(PathMatch::Exact(path.into()))
    }

    /// This path and everything below it.
    pub fn prefix(path: &str) -> Result<Self, String> {
        check(path)?;
        Ok(PathMatch::Prefix(path.strip_suffix('/').unwrap_or(path).into()))
    }
}

fn check(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("path {path:?} does not begin with a slash"));
    }
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        return Err(format!("{bad:?} cannot be part of a path"));
    }
    if normalize(path) != path {
        return Err(format!("path {path:?} has dot segments; write {:?}", normalize(path)));
    }
    Ok(())
}

/// Does a segment of `path` end at `length`?
pub(super) fn ends_segment(path: &str, length: usize) -> bool {
    length == 0 || path.len() == length || path.as_bytes().get(length) == Some(&b'/')
}

/// The path without `.` and `..` segments, percent-encoded ones included (RFC 3986, sections 5.2.4
/// and 6.2.2), as a backend resolves them. Backends differ in what else they see as the same (other
/// escapes, doubled slashes, `..;`), and the path goes on as it came: routes are no access control.
pub(super) fn normalize(path: &str) -> Cow<'_, str> {
    // Most paths have no dot and no escape at all.
    let is_dots = |segment: &str| dots(segment) > 0;
    if memchr2(b'.', b'%', path.as_bytes()).is_none() || !path.split('/').any(is_dots) {
        return path.into();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_dots = false;
    for segment in path.split('/').skip(1) {
        let dots = dots(segment);
        if dots == 2 {
            kept.pop();
        } else if dots == 0 {
            kept.push(segment);
        }
        ends_in_dots = dots > 0;
    }
    if ends_in_dots {
        kept.push("");
    }
    format!("/{}", kept.join("/")).into()
}

/// 1 for `.`, 2 for `..`, 0 for every other segment.
fn dots(segment: &str) -> usize {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        let Some(after) = rest.strip_prefix('.').or_else(|| {
            let escape = rest.get(..3)?;
            escape.eq_ignore_ascii_case("%2e").then(|| &rest[3..])
        }) else {
            return 0;
        };
        rest = after;
        count += 1;
    }
    if count > 2 { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_resolved() {
        for (path, resolved) in [
            ("/a/b/../c", "/a/c"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/../../x", "/x"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/.", "/"),
        ] {
            assert_eq!(normalize(path), resolved, "{path}");
        }
        for path in ["/", "/a/...", "/.well-known/x", "/a/.b", "/%20", "*", "/a//b", "/%2f.."] {
            assert!(matches!(normalize(path), Cow::Borrowed(same) if same == path), "{path}");
        }
    }

    #[test]
    fn rules_are_checked() {
        assert_eq!(PathMatch::prefix("/api/"), PathMatch::prefix("/api"));
        assert_eq!(PathMatch::prefix("/"), Ok(PathMatch::default()));
        for bad in ["", "api", "/a b", "/a?b", "/a#b", "/a/../b", "/ä"] {
            assert!(PathMatch::exact(bad).is_err(), "{bad:?} was accepted");
        }
    }
}

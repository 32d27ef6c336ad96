//! Paths that a backend sees another way.

use super::path;

/// Takes a prefix off a path, and puts another one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken off where a path begins with it, segment by segment. Without a slash at the end;
    /// empty for none.
    pub strip: Box<str>,
    /// Put before what is left then. Likewise.
    pub add: Box<str>,
}

impl Rewrite {
    /// The target that the backend sees. What stands in place of a path (`*`) stays.
    ///
    /// Dots are resolved before anything is taken off: what is left of `/api/../../x` must not
    /// lead out of where the prefix led.
    pub fn apply(&self, path: &str, query: Option<&str>) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        let path = path::normalize(path);
        let rest = match path.strip_prefix(&*self.strip) {
            Some(rest) if path::ends_segment(&path, self.strip.len()) => rest,
            _ => &path,
        };
        let mut target = String::with_capacity(self.add.len() + path.len() + 1);
        target.push_str(&self.add);
        target.push_str(rest);
        if target.is_empty() {
            target.push('/');
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(strip: &str, add: &str, path: &str) -> String {
        Rewrite { strip: strip.into(), add: add.into() }.apply(path, None).unwrap()
    }

    #[test]
    fn prefixes_go_and_come() {
        for (strip, add, path, expected) in [
            ("/api", "", "/api/users", "/users"),
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/apis", "/apis"),
            ("/api", "", "/other", "/other"),
            ("/api", "/v2", "/api/users", "/v2/users"),
            ("/api", "/v2", "/api", "/v2"),
            ("", "/app", "/", "/app/"),
            ("", "/app", "/x//y", "/app/x//y"),
            ("/api", "", "/api/%2e%2E/secret", "/secret"),
            ("/api", "", "/x/../api/y", "/y"),
        ] {
            assert_eq!(rewritten(strip, add, path), expected, "{strip} {add} {path}");
        }
    }

    #[test]
    fn queries_stay_and_the_asterisk_too() {
        let rewrite = Rewrite { strip: "/a".into(), add: "".into() };
        assert_eq!(rewrite.apply("/a", Some("b=/a/../c")).as_deref(), Some("/?b=/a/../c"));
        assert_eq!(rewrite.apply("*", None), None);
    }

    proptest! {
        /// Whatever a client asks for, what goes on is a path below the one that was added.
        #[test]
        fn nothing_leads_out(path in "(/(a|b|\\.|\\.\\.|%2e|%2E\\.|))*/?", strip in "(/a|/b)?") {
            let path = format!("/{path}");
            let target = rewritten(&strip, "/in", &path);
            prop_assert!(target.starts_with("/in"));
            prop_assert!(path::ends_segment(&target, 3), "{}", target);
            let resolved = path::normalize(&target);
            prop_assert_eq!(&*resolved, &target, "nothing is left to resolve");
        }
    }
}

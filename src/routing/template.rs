//! Where a request is sent to: a target with places to fill in.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use super::{host, path};

/// A target such as `https://{host}/new{rest}{query}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Place(Place),
}

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The host, without a port.
    Host,
    /// The path, as it was written.
    Path,
    /// The path behind the route's own.
    Rest,
    /// The query with its question mark; nothing if there is none.
    Query,
}

impl Place {
    const ALL: [(&'static str, Place); 4] = [
        ("host", Place::Host),
        ("path", Place::Path),
        ("rest", Place::Rest),
        ("query", Place::Query),
    ];

    fn name(self) -> &'static str {
        Place::ALL.iter().find(|(_, place)| *place == self).map_or("", |(name, _)| name)
    }
}

/// What a request asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The value of its `Host`; empty if it has none.
    pub host: &'a str,
    /// Its path, as written.
    pub path: &'a str,
    /// Its query.
    pub query: Option<&'a str>,
    /// Length of the route's own path.
    pub prefix: usize,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let name = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((name, behind)) = name else {
                return Err(format!("a brace in {text:?} has no other one"));
            };
            let known = Place::ALL.iter().find(|(other, _)| *other == name);
            let Some((_, place)) = known else {
                return Err(format!(
                    "there is no {{{name}}}: write {{host}}, {{path}}, {{rest}} or {{query}}"
                ));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Place(*place));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        let template = Template(parts);
        template.check(text)?;
        Ok(template)
    }
}

impl Template {
    /// `https://{host}{path}{query}`
    pub fn https() -> Self {
        let places = [Place::Host, Place::Path, Place::Query].map(Part::Place);
        Template([vec![Part::Text("https://".into())], places.into()].concat())
    }

    /// Does it name the host that was asked for?
    pub fn wants_host(&self) -> bool {
        self.0.contains(&Part::Place(Place::Host))
    }

    /// Does it use what stands behind the route's path?
    pub fn wants_rest(&self) -> bool {
        self.0.contains(&Part::Place(Place::Rest))
    }

    /// Is it a target whatever is filled in?
    fn check(&self, text: &str) -> Result<(), String> {
        let is_odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>');
        if let Some(bad) = text.chars().find(|&c| is_odd(c)) {
            return Err(format!("{bad:?} cannot be part of a target"));
        }
        let first = match self.0.first() {
            Some(Part::Text(first)) => first,
            Some(Part::Place(Place::Path | Place::Rest)) => "/",
            _ => "",
        };
        let is_whole = ["http://", "https://"].iter().any(|scheme| first.starts_with(scheme));
        if !is_whole && (!first.starts_with('/') || first.starts_with("//")) {
            return Err(format!("{text:?} begins with neither a slash nor http:// nor https://"));
        }
        let example = Asked { host: "example.com", path: "/a/b", query: Some("c"), prefix: 2 };
        // What is left out must not make another host of what stands around it.
        let least = Asked { path: "/a", query: None, ..example };
        let host = |asked: &Asked<'_>| {
            let uri = self.fill(asked).parse::<Uri>().ok()?;
            Some(uri.host().map(str::to_owned))
        };
        if host(&example).is_none() || host(&example) != host(&least) {
            return Err(format!("{text:?} is not a target, or not always the same host's"));
        }
        Ok(())
    }

    /// The target for a request. It is ASCII without blanks, and leads to no host that neither the
    /// template nor, where the template says so, the request names.
    pub fn fill(&self, asked: &Asked<'_>) -> String {
        let mut target = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => target.push_str(text),
                Part::Place(Place::Host) => target.push_str(&host::normalize(asked.host)),
                Part::Place(Place::Path) => push_encoded(&mut target, real(asked.path)),
                Part::Place(Place::Rest) => {
                    let path = path::normalize(real(asked.path));
                    push_encoded(&mut target, path.get(asked.prefix..).unwrap_or_default());
                }
                Part::Place(Place::Query) => {
                    if let Some(query) = asked.query {
                        target.push('?');
                        push_encoded(&mut target, query);
                    }
                }
            }
        }
        if target.starts_with("http://") || target.starts_with("https://") {
            return target;
        }
        // Two slashes would begin with a host (RFC 3986, section 4.2).
        let inside = target.trim_start_matches('/');
        format!("/{inside}")
    }
}

/// A path, even where a request has `*` in its place.
fn real(path: &str) -> &str {
    if path.starts_with('/') { path } else { "/" }
}

/// Browsers read backslashes as slashes; and what is no URI at all does not become part of one.
fn push_encoded(target: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                target.push_str(&format!("%{byte:02X}"));
            }
            0x21..=0x7e => target.push(char::from(byte)),
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Place(place) => write!(f, "{{{}}}", place.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, host: &str, path: &str, query: Option<&str>) -> String {
        let asked = Asked { host, path, query, prefix: "/old".len() };
        template.parse::<Template>().unwrap().fill(&asked)
    }

    #[test]
    fn places_are_filled_in() {
        let old = |template| filled(template, "Shop.example:8080", "/old/a%20b", Some("c=d"));
        assert_eq!(old("https://{host}{path}{query}"), "https://shop.example/old/a%20b?c=d");
        assert_eq!(old("/new{rest}"), "/new/a%20b");
        assert_eq!(old("{rest}{query}"), "/a%20b?c=d");
        assert_eq!(
            old("https://other.example/x?was={path}"),
            "https://other.example/x?was=/old/a%20b"
        );
        assert_eq!(filled("/new{rest}{query}", "", "/old", None), "/new");
        assert_eq!(filled("https://{host}{path}", "[::1]:80", "*", None), "https://[::1]/");
        assert_eq!(Template::https().to_string(), "https://{host}{path}{query}");
    }

    #[test]
    fn nobody_is_sent_to_a_host_of_the_clients_choice() {
        for path in ["//evil.com/", "/\\evil.com", "///evil.com"] {
            assert_eq!(filled("{path}", "a", path, None).find("//"), None, "{path}");
        }
        assert_eq!(filled("{rest}", "a", "/old//evil.com", None), "/evil.com");
        assert_eq!(filled("{rest}", "a", "/old", None), "/");
        assert_eq!(filled("/{rest}", "a", "/old/../..//evil", None).find("//"), None);
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [
            "",
            "new",
            "{host}",
            "{query}",
            "//{host}/",
            "ftp://a/",
            "https://",
            "/a b",
            "/{",
            "/}",
            "/{what}",
            "/\u{e4}",
            "/a\\b",
            "https://a b/",
            "https://shop{query}.example/",
            "https://{path}/",
            "https://shop{rest}.example/",
        ] {
            assert!(bad.parse::<Template>().is_err(), "{bad:?} was accepted");
        }
        for good in ["/", "https://a", "https://a{path}", "https://{host}:8443{path}", "/a#b"] {
            assert!(good.parse::<Template>().is_ok(), "{good:?} was refused");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_shows_what_it_read(text in "[/a{}hostpathrestquery:.#? ]{0,24}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }

        #[test]
        fn what_is_filled_in_is_a_target_of_the_same_host(
            path in "/[ -~\u{e4}]{0,20}",
            query in proptest::option::of("[ -~]{0,20}"),
            template in prop::sample::select(vec![
                "/x{rest}", "{path}{query}", "{rest}", "/{path}", "https://shop.example{path}{query}",
                "https://shop.example/{rest}?{path}",
            ]),
        ) {
            let target = filled(template, "h", &path, query.as_deref());
            prop_assert!(target.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'));
            let host = target.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next());
            match host {
                Some(host) => prop_assert_eq!(host, Some("shop.example")),
                None => prop_assert!(target.starts_with('/') && !target.starts_with("//")),
            }
        }
    }
}

//! What a route does to its requests and answers on their way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::HeaderName;
use ipnet::IpNet;

use super::Resolver;
use crate::config::at::At;
use crate::config::file::{self, OneOrMany};
use crate::config::leaf::{Leaf, Parsed, StatusRange};
use crate::config::load;
use crate::config::{
    ErrorPages, FieldRules, Handling, KeySource, Listener, Page, RateLimit, Server,
};
use crate::http::fields::Found;
use crate::routing::{Access, PathMatch, Rewrite};

/// A full quota takes no longer than this to fill up: times are counted in nanoseconds.
const LONGEST_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

/// Bytes that a page may have.
const LARGEST_PAGE: usize = 1 << 20;

/// Fields that mean something between two hops only, or are the proxy's to write, besides those
/// that have a flag.
const OURS: [&str; 4] = ["via", "trailer", "keep-alive", "date"];

impl Resolver<'_> {
    /// What is done on the way, if anything is.
    pub(super) fn handling(&mut self, file: &file::Route, at: At<'_>) -> Option<Arc<Handling>> {
        let handling = Handling {
            access: self.access(file, at),
            rate_limit: file
                .rate_limit
                .as_ref()
                .map(|limit| self.rate_limit(limit, at.key("rate_limit"))),
            rewrite: file.rewrite.as_ref().and_then(|rewrite| self.rewrite(rewrite, file, at)),
            request: self.field_rules(file.request_headers.as_ref(), at.key("request_headers")),
            response: self.field_rules(file.response_headers.as_ref(), at.key("response_headers")),
            hsts: file.hsts.as_ref().map(|hsts| self.hsts(hsts, at.key("hsts"))),
            error_pages: self.error_pages(&file.error_pages, at.key("error_pages")),
            compression: file
                .compression
                .as_ref()
                .map(|compression| self.compression(compression, at.key("compression"))),
        };
        (handling != Handling::default()).then(|| Arc::new(handling))
    }

    fn access(&mut self, file: &file::Route, at: At<'_>) -> Option<Access> {
        let ranges = |list: &Option<Vec<Parsed<IpNet>>>| -> Vec<IpNet> {
            list.iter().flatten().map(|range| range.0.trunc()).collect()
        };
        if let Some(list) = &file.allow {
            let help = "leave it out to let everybody in who is not denied";
            self.not_empty(list, at.key("allow"), help);
        }
        let (allowed, denied) = (ranges(&file.allow), ranges(&file.deny));
        for (i, range) in denied.iter().enumerate() {
            if let Some(other) = allowed.iter().position(|allowed| allowed == range) {
                let title = format!("{range} is allowed and denied");
                let mistake = self.mistakes.error(at.key("deny").index(i), title);
                mistake.label("denied here");
                mistake.with(at.key("allow").index(other), "allowed here");
            }
        }
        let is_said = !allowed.is_empty() || !denied.is_empty();
        is_said.then(|| Access::new(&allowed, &denied))
    }

    fn rate_limit(&mut self, file: &file::RateLimit, at: At<'_>) -> RateLimit {
        let key = file.key.as_ref().and_then(|key| self.key(key, at.key("key")));
        let per = self.positive(&file.per, at.key("per"));
        let burst = file.burst.unwrap_or(file.requests);
        // A product that is too large is too long as well.
        let refill = (per / file.requests.max(1)).checked_mul(burst).unwrap_or(Duration::MAX);
        if refill > LONGEST_REFILL {
            let title = format!("{}: a burst takes more than a year to come back", at.path());
            let mistake = self.mistakes.error(at.key("burst"), title);
            mistake.label("too many at once for so few in so long");
            mistake.depends_on(at.key("requests")).depends_on(at.key("per"));
        }
        RateLimit {
            requests: file.requests.max(1),
            per,
            burst: burst.max(1),
            key: key.unwrap_or(KeySource::SourceAddress),
            max_keys: usize::try_from(file.max_keys).unwrap_or(usize::MAX),
        }
    }

    fn rewrite(
        &mut self,
        file: &file::Rewrite,
        route: &file::Route,
        at_route: At<'_>,
    ) -> Option<Rewrite> {
        let at = at_route.key("rewrite");
        let prefix = |path: &Option<Parsed<crate::config::leaf::PathPrefix>>| -> Box<str> {
            match path.as_ref().map(|path| &path.0.0) {
                Some(PathMatch::Prefix(path) | PathMatch::Exact(path)) => path.clone(),
                None => Box::default(),
            }
        };
        let (strip, add) = (prefix(&file.strip_prefix), prefix(&file.add_prefix));
        if strip.is_empty() && add.is_empty() {
            let mistake = self.mistakes.error(at, format!("{} changes nothing", at.path()));
            mistake.help("write strip_prefix = \"/api\", or add_prefix = \"/app\"");
            mistake.depends_on(at);
            return None;
        }
        let (own, at_own) = match (&route.path, &route.path_exact) {
            (_, Some(path)) => (Some(&path.0.0), at_route.key("path_exact")),
            (path, None) => (path.as_ref().map(|path| &path.0.0), at_route.key("path")),
        };
        let meets = |own: &PathMatch| match own {
            PathMatch::Exact(own) => is_below(own, &strip),
            PathMatch::Prefix(own) => is_below(own, &strip) || is_below(&strip, own),
        };
        if own.is_some_and(|own| !meets(own)) {
            let at_strip = at.key("strip_prefix");
            let title = format!("{} is in none of these paths", at_strip.path());
            let mistake = self.mistakes.error(at_strip, title);
            mistake.label("there would never be anything to take off");
            mistake.with(at_own, "of these");
        }
        Some(Rewrite { strip, add })
    }

    fn field_rules(&mut self, file: Option<&file::FieldRules>, at: At<'_>) -> FieldRules {
        let Some(file) = file else { return FieldRules::default() };
        let mut rules = FieldRules::default();
        for (i, name) in file.remove.iter().enumerate() {
            self.may_be_changed(&name.0, at.key("remove").index(i).into());
            rules.remove.push(name.0.clone());
        }
        rules.set = self.fields(&file.set, at.key("set"));
        rules.add = self.fields(&file.add, at.key("add"));
        for (name, _) in &rules.set {
            let at_set = at.key("set").key(name.as_str());
            if let Some(i) = rules.remove.iter().position(|other| other == name) {
                let title = format!("{name} is set and removed");
                let mistake = self.mistakes.error(at.key("remove").index(i), title);
                mistake.label("removed here").with(at_set, "set here");
                mistake.help("to set it is enough: it takes the place of what there is");
            }
        }
        rules
    }

    fn fields(
        &mut self,
        file: &BTreeMap<String, Parsed<HeaderValue>>,
        at: At<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (written, value) in file {
            // The check has seen to it that it is a name.
            let Ok(name) = written.parse::<HeaderName>() else { continue };
            self.may_be_changed(&name, at.key(written).name());
            fields.push((name, value.0.clone()));
        }
        fields
    }

    /// Whoever could change these could make two messages of one, or say what only we may say.
    fn may_be_changed(&mut self, name: &HeaderName, place: crate::config::source::Place) {
        let flag = Found::of_text(name.as_str());
        let is_free = flag == Found::default() || flag == Found::X_OTHER;
        if !is_free || OURS.contains(&name.as_str()) || name.as_str().contains('_') {
            let mistake = self.mistakes.error(place, format!("no rule can change {name}"));
            mistake.label(match flag {
                _ if name.as_str().contains('_') => "app servers take it for one with hyphens",
                flag if flag.has(Found::FRAMING) => "it says where a message ends",
                flag if flag.has(Found::HOST) => {
                    "`host` in a pool's `forward` says what backends see"
                }
                flag if flag.has(Found::COOKIE) => "sessions are found by it",
                _ => "the proxy reads or writes this field itself",
            });
        }
    }

    /// Nor those with which an app is told who a client is.
    pub(super) fn guarded_fields_stay(
        &mut self,
        file: &[file::Route],
        listeners: &[Listener],
        server: &Server,
        at: At<'_>,
    ) {
        let subjects = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let subjects = subjects.filter_map(|tls| tls.subject_header.as_ref());
        let guarded: Vec<_> = subjects.chain(&server.request_id_header).collect();
        for (i, route) in file.iter().enumerate() {
            let Some(rules) = &route.request_headers else { continue };
            let at = at.key("routes").index(i).key("request_headers");
            let removed = rules.remove.iter().enumerate();
            let removed = removed.map(|(i, n)| (n.0.clone(), at.key("remove").index(i).into()));
            let keys = |table: &'static str, map: &BTreeMap<String, _>| -> Vec<_> {
                let place = |name: &String| {
                    let parsed = name.parse::<HeaderName>().ok()?;
                    Some((parsed, at.key(table).key(name).name()))
                };
                map.keys().filter_map(place).collect()
            };
            let named = removed.chain(keys("set", &rules.set)).chain(keys("add", &rules.add));
            for (name, place) in named.filter(|(name, _)| {
                // Those with a flag have been refused already.
                Found::of_text(name.as_str()) == Found::default() && guarded.contains(&name)
            }) {
                let mistake = self.mistakes.error(place, format!("no rule can change {name}"));
                mistake.label("the proxy tells backends in it what only it may say");
            }
        }
    }

    /// Pages by status; the files are read.
    pub(super) fn error_pages(
        &mut self,
        file: &BTreeMap<String, OneOrMany<Parsed<PathBuf>>>,
        at: At<'_>,
    ) -> ErrorPages {
        let mut pages = Vec::new();
        for (written, files) in file {
            // The check has seen to it that it is one.
            let Ok(StatusRange(first, last)) = StatusRange::parse(written) else { continue };
            let at = at.key(written);
            if first < 400 {
                let title = format!("{} is not the status of an error", at.path());
                self.mistakes.error(at.name(), title).label("expected 400 to 599");
            }
            let mut of_status: Vec<Page> = Vec::new();
            for (i, path) in files.as_slice().iter().enumerate() {
                let Some(page) = self.page(path, at.index(i)) else { continue };
                if let Some(other) = of_status.iter().position(|o| o.is_json == page.is_json) {
                    let whom = if page.is_json { "programs" } else { "people" };
                    let title = format!("{}: two pages for {whom}", at.path());
                    let mistake = self.mistakes.error(at.index(i), title);
                    mistake.label("this one is never shown").with(at.index(other), "this one is");
                }
                of_status.push(page);
            }
            pages.push(((first, last), of_status));
        }
        pages.sort_by_key(|((first, last), _)| last - first);
        ErrorPages(pages)
    }

    fn page(&mut self, path: &Parsed<PathBuf>, at: At<'_>) -> Option<Page> {
        let file = self.beside(path);
        let media = media(&file);
        if media.is_none() {
            let title = format!("{} is no kind of page", self.written(at));
            let mistake = self.mistakes.error(at, title);
            mistake.label("expected a name that ends in .html, .json, .txt, .xml or .svg");
        }
        let problem = match load::read(&file) {
            Ok(body) if body.len() > LARGEST_PAGE => "it is larger than 1 MiB".to_owned(),
            Ok(body) => {
                let media = media?;
                let is_json = media == "application/json";
                let (media, body) = (HeaderValue::from_static(media), Bytes::from(body));
                return Some(Page { path: file, media, is_json, body });
            }
            Err(error) => error.to_string(),
        };
        let title = format!("{}: this file cannot be used", at.path());
        self.mistakes.error(at, title).label(problem);
        None
    }
}

/// Is `path` the same as `prefix`, or below it?
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a file is, by its name.
fn media(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()? {
        "html" | "htm" => Some("text/html; charset=utf-8"),
        "json" => Some("application/json"),
        "txt" => Some("text/plain; charset=utf-8"),
        "xml" => Some("application/xml"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

//! What becomes of requests: the resolved `[[routes]]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};

use super::KeySource;
use crate::http::compression::{Coding, MediaRange};
use crate::routing::{Access, Rewrite, Rule, Template};

/// A match, and what becomes of the requests that match.
#[derive(Debug)]
pub struct Route {
    /// What must match.
    pub rule: Rule,
    /// Where they go.
    pub action: Action,
    /// What is done on the way, if anything is. The rules that a route's several hosts make share
    /// it.
    pub handling: Option<Arc<Handling>>,
}

impl Route {
    /// Can a request come to this pool?
    pub fn leads_to(&self, pool: usize) -> bool {
        match &self.action {
            Action::Pool(index) => *index == pool,
            Action::Split(split) => split.arms.iter().any(|(index, _)| *index == pool),
            Action::Redirect(_) => false,
        }
    }
}

/// Where a route's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To a pool: an index into [`Config::pools`](super::Config::pools).
    Pool(usize),
    /// To several pools, each its share.
    Split(Split),
    /// Their clients are sent elsewhere.
    Redirect(Redirect),
}

/// Several pools behind one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// By what name operators call it.
    pub name: String,
    /// The pools, as indices into [`Config::pools`](super::Config::pools), and their weights.
    pub arms: Vec<(usize, u32)>,
}

/// Clients are sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where to.
    pub to: Template,
    /// With which status.
    pub status: StatusCode,
    /// Is it only about HTTPS?
    pub is_to_https: bool,
}

/// What is done to a route's requests and answers on their way.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Who may come, if not everybody.
    pub access: Option<Access>,
    /// How many requests a client may send.
    pub rate_limit: Option<RateLimit>,
    /// The path that backends see.
    pub rewrite: Option<Rewrite>,
    /// Fields of requests.
    pub request: FieldRules,
    /// Fields of responses.
    pub response: FieldRules,
    /// `Strict-Transport-Security`, if it is to be said.
    pub hsts: Option<HeaderValue>,
    /// Pages instead of answers of our own.
    pub error_pages: ErrorPages,
    /// How answers are compressed, or that they are not. `None`: as the pool says.
    pub compression: Option<Option<Compression>>,
}

/// How responses are compressed, for clients that want that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// How, in the order of preference. Never empty.
    pub algorithms: Vec<Coding>,
    /// Nothing shorter than this is.
    pub min_length: u64,
    /// Only what is of these types is.
    pub types: Vec<MediaRange>,
}

/// How many requests a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many, at least 1,
    pub requests: u32,
    /// in so long.
    pub per: Duration,
    /// So many at once, at least 1.
    pub burst: u32,
    /// Who is one client.
    pub key: KeySource,
    /// Clients that are counted apart at the same time.
    pub max_keys: usize,
}

/// Header fields that are changed. None of them frames a message or ends at this hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRules {
    /// Are taken out.
    pub remove: Vec<HeaderName>,
    /// Take the place of those of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Are added.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldRules {
    /// Do they change nothing?
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Pages instead of answers of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(
    /// For statuses, as inclusive ranges: the narrowest first.
    pub Vec<((u16, u16), Vec<Page>)>,
);

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The file that it came from.
    pub path: PathBuf,
    /// What it is.
    pub media: HeaderValue,
    /// Is it for programs?
    pub is_json: bool,
    /// What stands in it.
    pub body: Bytes,
}

impl ErrorPages {
    /// The page for a status, and for a client that will have JSON only, or something else as well.
    pub fn find(&self, status: StatusCode, wants_json: bool) -> Option<&Page> {
        let status = status.as_u16();
        let mut fitting =
            self.0.iter().filter(|((first, last), _)| (*first..=*last).contains(&status));
        let pages = &fitting.next()?.1;
        pages.iter().find(|page| page.is_json == wants_json)
    }
}

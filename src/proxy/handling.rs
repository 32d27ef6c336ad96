//! What a route does to its requests and answers on their way. Most do nothing.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderValue, Response};

use super::affinity::Known;
use super::body::ResponseBody;
use super::client::Client;
use super::destination::Destination;
use super::error::Problem;
use super::rate_limit::Limiter;
use super::request;
use super::split::Split;
use crate::config::{self, ErrorPages};
use crate::http::field_lines::FieldLines;
use crate::http::request_head::field;
use crate::routing::{Asked, PathMatch};

/// A route, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) action: Action,
    /// What is done on the way, if anything is.
    pub(crate) handling: Option<Arc<Handling>>,
}

/// Where a route's requests go.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// To a pool.
    Pool(Arc<Destination>),
    /// To several pools, each its share.
    Split(Arc<Split>),
    /// Their clients are sent elsewhere.
    Redirect(Arc<Redirect>),
}

/// Where one request goes, and what is known and done on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) destination: &'a Arc<Destination>,
    pub(crate) handling: Option<&'a Handling>,
    pub(crate) known: Known,
}

/// Clients are sent elsewhere.
#[derive(Debug)]
pub(crate) struct Redirect {
    config: config::Redirect,
    /// Length of the route's own path.
    prefix: usize,
}

impl Redirect {
    pub(crate) fn new(config: &config::Redirect, path: &PathMatch) -> Self {
        let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = path;
        Redirect { config: config.clone(), prefix: path.len() }
    }

    /// The answer that sends a client there.
    pub(crate) fn problem(&self, head: &Parts, fields: &FieldLines) -> Problem {
        let (path, query) = (head.uri.path(), head.uri.query());
        let host = request::host(fields);
        let config::Redirect { to, status, is_to_https } = &self.config;
        if host.is_empty() && to.wants_host() {
            return Problem::bad_host();
        }
        let location = to.fill(&Asked { host, path, query, prefix: self.prefix });
        match HeaderValue::try_from(location) {
            Ok(location) => Problem::redirect(*status, location, *is_to_https),
            Err(_) => Problem::malformed(),
        }
    }
}

/// What is done on the way.
#[derive(Debug)]
pub(crate) struct Handling {
    config: Arc<config::Handling>,
    limiter: Option<Arc<Limiter>>,
    /// The request's fields that are set or added, as lines.
    lines: Box<[u8]>,
    /// The request's fields that end here: those that are removed or set.
    left_out: Box<[http::HeaderName]>,
}

impl Handling {
    pub(crate) fn new(config: Arc<config::Handling>, limiter: Option<Arc<Limiter>>) -> Self {
        let rules = &config.request;
        let mut lines = Vec::new();
        for (name, value) in rules.set.iter().chain(&rules.add) {
            field(&mut lines, name.as_str(), value.as_bytes());
        }
        let set = rules.set.iter().map(|(name, _)| name);
        let left_out = rules.remove.iter().chain(set).cloned().collect();
        Handling { limiter, lines: lines.into(), left_out, config }
    }

    /// May this request come in?
    pub(crate) fn admit(
        &self,
        head: &Parts,
        fields: &FieldLines,
        client: &Client,
    ) -> Result<(), Problem> {
        if let Some(access) = &self.config.access {
            let address: IpAddr = client.source(fields);
            if !access.admits(address) {
                return Err(Problem::forbidden(address));
            }
        }
        match &self.limiter {
            None => Ok(()),
            Some(limiter) => {
                limiter.check(client, fields, &head.uri).map_err(Problem::rate_limited)
            }
        }
    }

    /// The target that the backend sees, if it is another one than the client's.
    pub(crate) fn target(&self, head: &Parts) -> Option<String> {
        self.config.rewrite.as_ref()?.apply(head.uri.path(), head.uri.query())
    }

    /// The prefix that is taken off paths; empty for none.
    pub(crate) fn stripped(&self) -> &str {
        self.config.rewrite.as_ref().map_or("", |rewrite| &rewrite.strip)
    }

    /// The request's fields that end here.
    pub(crate) fn left_out(&self) -> &[http::HeaderName] {
        &self.left_out
    }

    /// The request's fields that begin here, as lines.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Pages instead of answers of our own.
    pub(crate) fn error_pages(&self) -> &ErrorPages {
        &self.config.error_pages
    }

    /// How answers are compressed, or that they are not, if the route says so.
    pub(crate) fn compression(&self) -> Option<Option<&config::Compression>> {
        self.config.compression.as_ref().map(Option::as_ref)
    }

    /// Changes the fields of a backend's answer.
    pub(crate) fn change(&self, headers: &mut HeaderMap) {
        let rules = &self.config.response;
        for name in &rules.remove {
            headers.remove(name);
        }
        for (name, value) in &rules.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &rules.add {
            headers.append(name, value.clone());
        }
    }

    /// Gives an answer of our own the fields that it does not have.
    pub(crate) fn complete(&self, headers: &mut HeaderMap) {
        let rules = &self.config.response;
        for (name, value) in rules.set.iter().chain(&rules.add) {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// The last of any answer.
    pub(crate) fn finish(&self, response: &mut Response<ResponseBody>, client: &Client) {
        if let Some(hsts) = &self.config.hsts
            && client.came_over_https()
        {
            let headers = response.headers_mut();
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
    }
}

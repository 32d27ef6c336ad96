//! The second stage: from the file's types to the [`Config`].
//!
//! Every value is well formed by now. What is left to find is what contradicts itself, refers to
//! nothing, or cannot have been meant. Resolving goes on after a mistake with some value in the
//! place of the wrong one, since the result is thrown away then.

mod admin;
mod affinity;
mod compression;
mod cookie;
mod discover;
mod handling;
mod health;
mod jar;
mod listeners;
mod pool;
mod routes;
mod server;
mod split;
mod tls;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::Config;
use super::at::At;
use super::file::File;
use super::leaf::{Leaf, Parsed, Size};
use super::report::Mistakes;
use super::source::Place;
use super::variables::Environment;

/// Makes a configuration of a file. `at` is the root of the tree that it was read from.
pub(super) fn resolve(
    file: &File,
    at: At<'_>,
    directory: &Path,
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
) -> Config {
    let mut resolver = Resolver { directory, environment, mistakes };
    let server = resolver.server(&file.server, &file.token, at);
    let listeners = resolver.listeners(&file.listeners, at);
    let pools = resolver.pools(&file.pools, at);
    let routes = resolver.routes(&file.routes, &pools, at);
    resolver.no_loops(&listeners, &pools, at);
    resolver.names_differ(&file.routes, at);
    resolver.guarded_fields_stay(&file.routes, &listeners, &server, at);
    resolver.cookies_are_kept(&listeners, &routes, &pools, at);
    let admin = resolver.admin(&file.admin, &listeners, &pools, at);
    Config { server, admin, listeners, routes, pools }
}

struct Resolver<'a> {
    /// Where relative paths begin.
    directory: &'a Path,
    environment: Environment<'a>,
    mistakes: &'a mut Mistakes,
}

impl Resolver<'_> {
    /// A duration that cannot be zero.
    fn positive(&mut self, duration: &Parsed<Duration>, at: At<'_>) -> Duration {
        if duration.0.is_zero() {
            let mistake = self.mistakes.error(at, format!("{} cannot be zero", at.path()));
            mistake.label("expected more than zero").help("leave it out for the default");
        }
        duration.0
    }

    /// A size between two others.
    fn size(&mut self, size: &Parsed<Size>, range: RangeInclusive<Size>, at: At<'_>) -> usize {
        if !range.contains(&size.0) {
            let (min, max) = (range.start().show(), range.end().show());
            let mistake = self.mistakes.error(at, format!("{} is out of range", at.path()));
            mistake.label(format!("expected {min} to {max}"));
        }
        usize::try_from(size.0.0).unwrap_or(usize::MAX)
    }

    /// A list that may be left out but not be empty.
    fn not_empty<T>(&mut self, list: &[T], at: At<'_>, help: &str) {
        if list.is_empty() {
            let mistake = self.mistakes.error(at, format!("{} is empty", at.path()));
            mistake.label("nothing can match this").help(help);
        }
    }

    /// Reports a key that has no effect because of what `cause` says.
    fn useless(&mut self, at: At<'_>, why: &str, help: &str, cause: At<'_>) {
        if at.exists() {
            let title = format!("{} has no effect", at.path());
            let mistake = self.mistakes.error(at.name(), title);
            mistake.label(why).help(help).depends_on(cause);
        }
    }

    /// A value in words: as it was written, or by default.
    fn in_words(&self, at: At<'_>, default: impl Leaf) -> String {
        match at.exists() {
            true => self.written(at),
            false => format!("{} by default", default.show()),
        }
    }

    /// What stands in a place, as it was written: it can be quoted whatever it contains.
    fn written(&self, at: At<'_>) -> String {
        let span = Place::from(at).span.unwrap_or_default();
        self.mistakes.source().slice(span).to_owned()
    }
}

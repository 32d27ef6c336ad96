//! `[pools.NAME.affinity]`.

use std::num::NonZeroU32;

use super::Resolver;
use crate::balance::affinity::{AffinitySpec, Mode, Overload, Rebalance, WhenUnavailable};
use crate::balance::hashing;
use crate::balance::unstick::Unstick;
use crate::config::at::At;
use crate::config::file::{self, KeyField, KeyPart};
use crate::config::{Cookie, KeySource};

/// What a pool's affinity table says, in the parts that a [`Pool`](crate::config::Pool) has.
pub(super) struct Affinity {
    pub(super) spec: AffinitySpec,
    pub(super) key: KeySource,
    pub(super) cookie: Cookie,
}

impl Resolver<'_> {
    pub(super) fn affinity(&mut self, pool: &str, file: &file::Affinity, at: At<'_>) -> Affinity {
        let cookie = self.cookie(file.cookie.as_ref(), at.key("cookie"));
        let key = file.key.as_ref().and_then(|key| self.key(key, at.key("key")));
        self.fits_the_mode(file, at);
        self.lifetimes(file, at);
        let algorithm = file.algorithm.map_or(hashing::Algorithm::default(), Into::into);
        Affinity {
            spec: AffinitySpec {
                mode: match file.mode {
                    file::Mode::None => Mode::None,
                    file::Mode::Cookie => Mode::Cookie,
                    file::Mode::Hash => Mode::Hash(algorithm),
                },
                when_unavailable: self.when_unavailable(file, at),
                overload: file.overload.as_ref().map(|overload| Overload {
                    factor: overload.factor.0.0,
                    action: overload.action.into(),
                }),
                rebalance: file.rebalance.as_ref().map(|rebalance| Rebalance {
                    moves_per_second: NonZeroU32::new(rebalance.moves_per_second)
                        .unwrap_or(NonZeroU32::MIN), // the range was checked
                    margin: rebalance.margin.0.0 as f32,
                    idle_for: rebalance.idle_for.0,
                }),
                unstick: file
                    .unstick
                    .as_ref()
                    .map(|unstick| Unstick::new(unstick.percent.0.0, pool)),
                establish: file.establish.into(),
                coalesce: file
                    .coalesce
                    .as_ref()
                    .map(|window| self.positive(window, at.key("coalesce"))),
                max_load: file.max_load.as_ref().map(|factor| factor.0.0),
                idle_timeout: file.idle_timeout.0,
                absolute_timeout: file.absolute_timeout.0,
                max_sessions: usize::try_from(file.max_sessions).unwrap_or(usize::MAX),
            },
            key: key.unwrap_or(KeySource::SourceAddress),
            cookie,
        }
    }

    fn when_unavailable(&mut self, file: &file::Affinity, at: At<'_>) -> WhenUnavailable {
        let default = file::Wait::default();
        let wait = file.wait.as_ref().unwrap_or(&default);
        match file.when_unavailable {
            file::WhenUnavailable::Wait => {
                let up_to = self.positive(&wait.up_to, at.key("wait").key("up_to"));
                WhenUnavailable::Wait { up_to, then: wait.then.into() }
            }
            file::WhenUnavailable::Rebalance => {
                self.nobody_waits(at);
                WhenUnavailable::Rebalance
            }
            file::WhenUnavailable::Detour => {
                self.nobody_waits(at);
                WhenUnavailable::Detour
            }
            file::WhenUnavailable::Reject => {
                self.nobody_waits(at);
                WhenUnavailable::Reject
            }
        }
    }

    fn nobody_waits(&mut self, at: At<'_>) {
        let help = "write when_unavailable = \"wait\", or remove the wait";
        let why = "only when_unavailable = \"wait\" waits";
        self.useless(at.key("wait"), why, help, at.key("when_unavailable"));
    }

    /// Each mode has keys of its own.
    fn fits_the_mode(&mut self, file: &file::Affinity, at: At<'_>) {
        let at_mode = at.key("mode");
        let is_hash = file.mode == file::Mode::Hash;
        if file.mode != file::Mode::Cookie {
            let help = "write mode = \"cookie\", or remove the cookie";
            let why = "only mode = \"cookie\" has a cookie of its own";
            self.useless(at.key("cookie"), why, help, at_mode);
            let help = match is_hash {
                true => "with mode = \"hash\" max_load does the like",
                false => "write mode = \"cookie\", or remove the overload",
            };
            let why = "only mode = \"cookie\" has bound sessions";
            self.useless(at.key("overload"), why, help, at_mode);
            let help = "write mode = \"cookie\", or remove the absolute_timeout";
            let why = "only mode = \"cookie\" knows when a session began";
            self.useless(at.key("absolute_timeout"), why, help, at_mode);
            for key in ["rebalance", "establish", "coalesce"] {
                let help = format!("write mode = \"cookie\", or remove the {key}");
                let why = "only mode = \"cookie\" binds sessions with tokens";
                self.useless(at.key(key), why, &help, at_mode);
            }
        } else if file.establish == file::Establish::OnDemand {
            let help = "remove it, or write establish = \"always\"";
            let why = "with establish = \"on_demand\" first requests begin no session";
            self.useless(at.key("coalesce"), why, help, at.key("establish"));
        }
        if !is_hash {
            for key in ["key", "algorithm", "max_load"] {
                let help = format!("write mode = \"hash\", or remove the {key}");
                self.useless(at.key(key), "only mode = \"hash\" hashes anything", &help, at_mode);
            }
        }
        if file.mode == file::Mode::None {
            for key in ["idle_timeout", "when_unavailable", "unstick", "max_sessions"] {
                let help =
                    format!("write mode = \"cookie\" or mode = \"hash\", or remove the {key}");
                self.useless(at.key(key), "mode is \"none\": no session sticks", &help, at_mode);
            }
        }
        if is_hash && file.key.is_none() {
            let title = format!("{}: mode \"hash\" needs a key", at.path());
            let mistake = self.mistakes.error(at_mode, title);
            mistake.label("what is to be hashed?").help(
                "write key = { header = \"x-user\" }, { cookie = \"uid\" }, { query = \"user\" }, \
                 \"source_address\" or \"path\"",
            );
            mistake.depends_on(at.key("key"));
        }
    }

    fn lifetimes(&mut self, file: &file::Affinity, at: At<'_>) {
        let (at_idle, at_absolute) = (at.key("idle_timeout"), at.key("absolute_timeout"));
        let idle = self.positive(&file.idle_timeout, at_idle);
        let absolute = self.positive(&file.absolute_timeout, at_absolute);
        // Only with a cookie both have an effect. A mode that was refused may have been meant as one.
        let is_meant = at.key("mode").is_doubtful() && at_idle.exists() && at_absolute.exists();
        let both_count = file.mode == file::Mode::Cookie || is_meant;
        // Zero has been reported already, and would be shorter than anything.
        if both_count && idle > absolute && !absolute.is_zero() {
            let help = format!(
                "idle_timeout is {}, absolute_timeout is {}",
                self.in_words(at_idle, idle),
                self.in_words(at_absolute, absolute)
            );
            let place = if at_idle.exists() { at_idle } else { at_absolute };
            let title = format!("{}: idle_timeout is longer than absolute_timeout", at.path());
            let mistake = self.mistakes.error(place, title);
            mistake.label("no session could ever idle out").help(help);
            mistake.depends_on(at_idle).depends_on(at_absolute);
        }
    }

    pub(super) fn key(&mut self, file: &file::Key, at: At<'_>) -> Option<KeySource> {
        let fields = match file {
            file::Key::Part(KeyPart::SourceAddress) => return Some(KeySource::SourceAddress),
            file::Key::Part(KeyPart::Path) => return Some(KeySource::Path),
            file::Key::Field(fields) => fields,
        };
        match fields {
            KeyField { header: Some(name), cookie: None, query: None } => {
                Some(KeySource::Header(name.0.clone()))
            }
            KeyField { header: None, cookie: Some(name), query: None } => {
                Some(KeySource::Cookie(name.0.0.clone()))
            }
            KeyField { header: None, cookie: None, query: Some(name) } => {
                Some(KeySource::Query(name.0.0.clone()))
            }
            _ => {
                let title = format!("{} is not one field of the request", at.path());
                let mistake = self.mistakes.error(at, title);
                mistake.label("expected one of `header`, `cookie` and `query`");
                None
            }
        }
    }
}

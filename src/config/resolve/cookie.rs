//! `cookie` in `[pools.NAME.affinity]`.

use std::time::Duration;

use super::Resolver;
use crate::config::at::At;
use crate::config::file;
use crate::config::leaf::Parsed;
use crate::config::{Cookie, SameSite, Secure};

impl Resolver<'_> {
    pub(super) fn cookie(&mut self, file: Option<&file::Cookie>, at: At<'_>) -> Cookie {
        let default = file::Cookie::default();
        let file = file.unwrap_or(&default);
        Cookie {
            name: file.name.0.0.clone(),
            path: file.path.0.0.clone(),
            domain: file.domain.as_ref().map(|domain| domain.0.0.clone()),
            secure: match file.secure {
                file::Secure::Auto(_) => Secure::Auto,
                file::Secure::Fixed(true) => Secure::Always,
                file::Secure::Fixed(false) => Secure::Never,
            },
            http_only: file.http_only,
            same_site: match file.same_site {
                file::SameSite::Strict => SameSite::Strict,
                file::SameSite::Lax => SameSite::Lax,
                file::SameSite::None => SameSite::None,
                file::SameSite::Unset => SameSite::Unset,
            },
            partitioned: file.partitioned,
            max_age: file.max_age.as_ref().map(|age| self.max_age(age, at.key("max_age"))),
        }
    }

    fn max_age(&mut self, age: &Parsed<Duration>, at: At<'_>) -> Duration {
        let age = self.positive(age, at);
        if !age.is_zero() && age < Duration::from_secs(1) {
            let mistake = self.mistakes.error(at, format!("{} is too short", at.path()));
            mistake.label("browsers count whole seconds, and would drop the cookie at once");
        }
        age
    }

    /// Browsers drop cookies that break these rules (RFC 6265bis, section 5.7; CHIPS), and with
    /// them the affinity, without a word. `may_know_tls`: some listener may believe what a proxy
    /// says about the client's scheme.
    pub(super) fn kept_by_browsers(&mut self, cookie: &Cookie, may_know_tls: bool, at: At<'_>) {
        let mut needs_secure = |key: &str, what: &str| {
            let label = match cookie.secure {
                Secure::Never => "must be true or \"auto\"",
                Secure::Auto if !may_know_tls => {
                    "must be true: without listeners.tls or trusted_proxies nobody is known to use TLS"
                }
                Secure::Auto | Secure::Always => return,
            };
            let title =
                format!("{}: browsers drop a cookie with {what} and without Secure", at.path());
            let mistake = self.mistakes.error(at.key("secure"), title);
            mistake.label(label).with(at.key(key), "because of this");
        };
        if cookie.same_site == SameSite::None {
            needs_secure("same_site", "SameSite=None");
        }
        if cookie.partitioned {
            needs_secure("partitioned", "Partitioned");
        }
        // Browsers compare the prefixes without case.
        let name = cookie.name.to_ascii_lowercase();
        if name.starts_with("__secure-") || name.starts_with("__host-") {
            needs_secure("name", "this name");
        }
        if name.starts_with("__host-") && (cookie.domain.is_some() || cookie.path != "/") {
            let title = format!("{}: browsers drop a __Host- cookie like this", at.path());
            let mistake = self.mistakes.error(at.key("name"), title);
            mistake.label("needs path = \"/\" and no domain");
        }
    }
}

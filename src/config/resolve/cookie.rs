//! `cookie` in `[pools.NAME.affinity]`.

use super::Resolver;
use crate::config::at::At;
use crate::config::file;
use crate::config::{Cookie, SameSite, Secure};

impl Resolver<'_> {
    pub(super) fn cookie(&mut self, file: Option<&file::Cookie>, at: At<'_>) -> Cookie {
        let default = file::Cookie::default();
        let file = file.unwrap_or(&default);
        let cookie = Cookie {
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
            max_age: file.max_age.as_ref().map(|age| self.positive(age, at.key("max_age"))),
        };
        self.kept_by_browsers(&cookie, at);
        cookie
    }

    /// Browsers drop cookies that break these rules (RFC 6265bis, section 5.7; CHIPS), and with
    /// them the affinity, without a word.
    fn kept_by_browsers(&mut self, cookie: &Cookie, at: At<'_>) {
        let mut needs_secure = |key: &str, what: &str| {
            if cookie.secure == Secure::Never {
                let title =
                    format!("{}: browsers drop a cookie with {what} and without Secure", at.path());
                let mistake = self.mistakes.error(at.key("secure"), title);
                mistake.label("must be true or \"auto\"").with(at.key(key), "because of this");
            }
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

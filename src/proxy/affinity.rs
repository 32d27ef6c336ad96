//! Stickiness on the wire: from a request to a hint, and from a binding to a `Set-Cookie`.

use std::fmt::Write;
use std::net::IpAddr;

use http::Uri;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, SET_COOKIE};

use super::client::Client;
use super::destination::{Affinity, Destination, KeyFinder};
use crate::balance::affinity::{Keyring, TOKEN_LEN, TokenText};
use crate::balance::{Cause, Grant, Hint, Pool, Reason, hashing};
use crate::config::{self, SameSite, Secure};
use crate::http::cookies::CookieName;
use crate::http::field_lines::FieldLines;
use crate::http::fields::{Found, STICKLER_AFFINITY, any_lists};
use crate::http::request_head;

/// Our cookie: its name, and everything around the token.
#[derive(Debug)]
pub(crate) struct AffinityCookie {
    name: CookieName,
    /// `; Path=/; ...`, without `Secure`.
    attributes: Box<str>,
    /// The same for a cookie that is to be forgotten.
    removal: Box<str>,
    secure: Secure,
}

impl AffinityCookie {
    /// Its name.
    pub(crate) fn name(&self) -> &CookieName {
        &self.name
    }

    /// Compiles the attributes.
    pub(crate) fn new(config: &config::Cookie) -> Self {
        let max_age = config.max_age.map(|max_age| max_age.as_secs());
        AffinityCookie {
            name: CookieName::new(&config.name),
            attributes: AffinityCookie::attributes(config, max_age),
            removal: AffinityCookie::attributes(config, Some(0)),
            secure: config.secure,
        }
    }

    fn attributes(config: &config::Cookie, max_age: Option<u64>) -> Box<str> {
        let mut attributes = format!("; Path={}", config.path);
        if let Some(domain) = &config.domain {
            let _ = write!(attributes, "; Domain={domain}");
        }
        if let Some(max_age) = max_age {
            let _ = write!(attributes, "; Max-Age={max_age}");
        }
        attributes.push_str(if config.http_only { "; HttpOnly" } else { "" });
        attributes.push_str(match config.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
            SameSite::Unset => "",
        });
        attributes.push_str(if config.partitioned { "; Partitioned" } else { "" });
        attributes.into()
    }

    /// Tells the client to keep `token`.
    fn set(&self, headers: &mut HeaderMap, token: &TokenText, is_https: bool) {
        self.write(headers, token, &self.attributes, is_https);
    }

    /// Tells the client to forget its token.
    fn unset(&self, headers: &mut HeaderMap, is_https: bool) {
        self.write(headers, b"", &self.removal, is_https);
    }

    fn write(&self, headers: &mut HeaderMap, token: &[u8], attributes: &str, is_https: bool) {
        let name = self.name.as_bytes();
        let secure = match self.secure {
            Secure::Auto => is_https,
            Secure::Always => true,
            Secure::Never => false,
        };
        let secure = if secure { &b"; Secure"[..] } else { b"" };
        let parts = [name, b"=", token, attributes.as_bytes(), secure];
        // The name and the attributes were checked when the configuration was read.
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(parts.concat())) {
            headers.append(SET_COOKIE, value);
        }
        if !any_lists(headers, &CACHE_CONTROL, "private")
            && !any_lists(headers, &CACHE_CONTROL, "no-store")
        {
            // A shared cache would hand one client's session to everybody.
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }
}

/// The last token that a connection brought, and what it opened to. Opening is the expensive part
/// of recognizing a session, and a browser sends the same token many times over one connection.
#[derive(Debug)]
pub(crate) struct Memo {
    token: TokenText,
    /// Tokens are sealed for a pool; this one was opened for the pool of this name.
    pool: Box<str>,
    grant: Option<Grant>,
}

impl Default for Memo {
    fn default() -> Self {
        Memo { token: [0; TOKEN_LEN], pool: Box::default(), grant: None }
    }
}

impl Memo {
    pub(crate) fn open(&mut self, keyring: &Keyring, pool: &str, token: &[u8]) -> Option<Grant> {
        if self.grant.is_some() && self.token == *token && *self.pool == *pool {
            return self.grant;
        }
        let grant = keyring.open(pool, token)?;
        self.token.copy_from_slice(token);
        if *self.pool != *pool {
            self.pool = pool.into();
        }
        self.grant = Some(grant);
        self.grant
    }
}

/// What is known of a request's session before its cookies are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// All that its tokens say.
    Token {
        /// The one that opened, sealed by one of several pools.
        grant: Option<Grant>,
        /// There were only others.
        is_forged: bool,
        /// Why the pool that sealed it has let the session go, if it has.
        let_go: Option<Reason>,
    },
}

impl Known {
    /// Why another pool has let the session go, if one has.
    pub(crate) fn let_go(self) -> Option<Reason> {
        match self {
            Known::Nothing => None,
            Known::Token { let_go, .. } => let_go,
        }
    }
}

/// The tokens of our cookies, as they are found when the request is written: the first one that
/// opens counts.
pub(crate) struct Tokens<'a> {
    client: &'a Client,
    destination: &'a Destination,
    grant: Option<Grant>,
    is_forged: bool,
    /// What there is to know is known.
    is_settled: bool,
}

impl<'a> Tokens<'a> {
    /// None has been found yet, unless something is known.
    pub(crate) fn new(client: &'a Client, destination: &'a Destination, known: Known) -> Self {
        let (grant, is_forged) = match known {
            Known::Nothing => (None, false),
            Known::Token { grant, is_forged, .. } => (grant, is_forged),
        };
        let is_settled = matches!(known, Known::Token { .. });
        Tokens { client, destination, grant, is_forged, is_settled }
    }

    /// One more of our cookies: the index of its name, and its value.
    pub(crate) fn see(&mut self, name: usize, value: &[u8]) {
        let is_of_this_pool = name == 0 && matches!(self.destination.affinity, Affinity::Cookie(_));
        if is_of_this_pool && self.grant.is_none() && !self.is_settled {
            let site = self.client.worker.site();
            let pool = self.destination.pool.name();
            self.grant = self.client.memo().borrow_mut().open(&site.keyring, pool, value);
            self.is_forged |= self.grant.is_none();
        }
    }

    fn hint(self, fields: &FieldLines) -> Hint {
        if self.grant.is_none() && self.is_forged {
            self.destination.pool.count(Reason::Forged);
        }
        match self.grant {
            Some(grant) => Hint::Bound(grant),
            None if self.destination.coalesces => Hint::First(browser(self.client, fields)),
            None => Hint::Free,
        }
    }
}

/// What a request asks for. `tokens` are all that it brought.
pub(crate) fn hint(tokens: Tokens<'_>, fields: &FieldLines, uri: &Uri) -> Hint {
    match &tokens.destination.affinity {
        Affinity::None => Hint::Free,
        Affinity::Cookie(_) => tokens.hint(fields),
        Affinity::Key(finder) => {
            let key = finder.with_key(tokens.client, fields, uri, hashing::key);
            key.map_or(Hint::Free, Hint::Key)
        }
    }
}

/// A number for a client that has no token yet: its address and what it says that it is.
fn browser(client: &Client, fields: &FieldLines) -> u64 {
    let agent = fields.get("user-agent").unwrap_or_default();
    of_address(client.source(fields), hashing::key).rotate_left(1) ^ hashing::key(agent)
}

impl KeyFinder {
    /// What a function makes of the key; `None` if the request has none.
    pub(crate) fn with_key(
        &self,
        client: &Client,
        fields: &FieldLines,
        uri: &Uri,
        hash: impl Fn(&[u8]) -> u64,
    ) -> Option<u64> {
        let of_text = |bytes: &[u8]| (!bytes.is_empty()).then(|| hash(bytes));
        match self {
            KeyFinder::SourceAddress => Some(of_address(client.source(fields), &hash)),
            KeyFinder::Path => of_text(uri.path().as_bytes()),
            KeyFinder::Header(name) => of_text(fields.get(name.as_str())?),
            KeyFinder::Cookie(name) => {
                name.values(fields.of_kind(Found::COOKIE)).next().and_then(of_text)
            }
            KeyFinder::Query(name) => of_text(parameter(uri.query()?, name)?.as_bytes()),
        }
    }
}

fn of_address(address: IpAddr, hash: impl Fn(&[u8]) -> u64) -> u64 {
    match address {
        IpAddr::V4(v4) => hash(&v4.octets()),
        IpAddr::V6(v6) => hash(&v6.octets()),
    }
}

/// The value of a query parameter, as written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

/// Tells the client to keep what was granted.
pub(crate) fn issue(
    destination: &Destination,
    client: &Client,
    grant: &Grant,
    headers: &mut HeaderMap,
    is_https: bool,
) {
    if let Affinity::Cookie(cookie) = &destination.affinity {
        let mut rng = client.worker.rng.borrow_mut();
        let keyring = &client.worker.site().keyring;
        let token = keyring.seal(destination.pool.name(), grant, &mut *rng);
        cookie.set(headers, &token, is_https);
    }
}

/// Tells the client to forget what it was told to keep.
pub(crate) fn revoke(destination: &Destination, headers: &mut HeaderMap, is_https: bool) {
    if let Affinity::Cookie(cookie) = &destination.affinity {
        cookie.unset(headers, is_https);
    }
}

/// Tells the app why it got this request: `bound`, `new`, `keyed`, `unstuck`, `detour;reason=down`,
/// or `moved;from="app-1";reason=draining`.
pub(crate) fn tell_app(pool: &Pool, cause: Cause, head: &mut Vec<u8>) {
    let value = match cause {
        Cause::Free => return,
        Cause::New | Cause::Bound | Cause::Keyed | Cause::Unstuck => cause.as_str(),
        Cause::Detoured(reason) => &format!("detour;reason={reason}"),
        Cause::Moved { from, reason } => {
            let from = pool.backend(from);
            let from = from.map(|backend| format!(";from=\"{}\"", backend.name()));
            &format!("moved{};reason={reason}", from.unwrap_or_default())
        }
    };
    request_head::field(head, STICKLER_AFFINITY.as_str(), value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BackendId;

    fn config() -> config::Cookie {
        config::Cookie {
            name: "stickler".into(),
            path: "/".into(),
            domain: None,
            secure: Secure::Auto,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
            max_age: None,
        }
    }

    fn set(config: &config::Cookie, is_https: bool, cache: &'static str) -> (String, Vec<String>) {
        let mut headers = HeaderMap::new();
        if !cache.is_empty() {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        }
        AffinityCookie::new(config).set(&mut headers, &[b'A'; TOKEN_LEN], is_https);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let caching = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
        (text(&headers[SET_COOKIE]), caching)
    }

    #[test]
    fn the_cookie_has_the_configured_attributes() {
        let token = "A".repeat(TOKEN_LEN);
        let (plain, _) = set(&config(), false, "");
        assert_eq!(plain, format!("stickler={token}; Path=/; HttpOnly; SameSite=Lax"));
        let (https, _) = set(&config(), true, "");
        assert!(https.ends_with("; SameSite=Lax; Secure"));
        let all = config::Cookie {
            path: "/app".into(),
            domain: Some("example.com".into()),
            secure: Secure::Always,
            http_only: false,
            same_site: SameSite::None,
            partitioned: true,
            max_age: Some(std::time::Duration::from_secs(3600)),
            ..config()
        };
        let expected = "; Path=/app; Domain=example.com; Max-Age=3600; SameSite=None; \
                        Partitioned; Secure";
        assert_eq!(set(&all, false, "").0, format!("stickler={token}{expected}"));
    }

    #[test]
    fn a_cookie_is_removed_where_it_was_set() {
        let config = config::Cookie {
            path: "/app".into(),
            domain: Some("example.com".into()),
            max_age: Some(std::time::Duration::from_secs(3600)),
            ..config()
        };
        let mut headers = HeaderMap::new();
        AffinityCookie::new(&config).unset(&mut headers, true);
        let expected = "stickler=; Path=/app; Domain=example.com; Max-Age=0; HttpOnly; \
                        SameSite=Lax; Secure";
        assert_eq!(headers[SET_COOKIE], expected);
    }

    #[test]
    fn a_response_with_our_cookie_is_private() {
        assert_eq!(set(&config(), false, "").1, ["private"]);
        assert_eq!(
            set(&config(), false, "public, max-age=60").1,
            ["public, max-age=60", "private"]
        );
        assert_eq!(set(&config(), false, "no-store").1, ["no-store"]);
        assert_eq!(set(&config(), false, "max-age=1, Private").1, ["max-age=1, Private"]);
    }

    #[test]
    fn query_parameters_are_found() {
        assert_eq!(parameter("a=1&user=bob&user=eve", "user"), Some("bob"));
        assert_eq!(parameter("xuser=1&user", "user"), None);
    }

    #[test]
    fn the_app_is_told() {
        let address = "127.0.0.1:1".parse().unwrap();
        let backends = vec![crate::balance::BackendSpec::new("app-1", address)];
        let pool = Pool::new(&crate::balance::PoolSpec::new("shop", backends), 0);
        let told = |cause| {
            let mut head = Vec::new();
            tell_app(&pool, cause, &mut head);
            String::from_utf8(head).unwrap()
        };
        assert_eq!(told(Cause::Free), "");
        assert_eq!(told(Cause::Bound), "stickler-affinity: bound\r\n");
        assert_eq!(
            told(Cause::Detoured(Reason::Overloaded)),
            "stickler-affinity: detour;reason=overloaded\r\n"
        );
        let moved = |name, reason| Cause::Moved { from: BackendId::new("shop", name), reason };
        assert_eq!(
            told(moved("app-1", Reason::Draining)),
            "stickler-affinity: moved;from=\"app-1\";reason=draining\r\n"
        );
        assert_eq!(
            told(moved("gone", Reason::Removed)),
            "stickler-affinity: moved;reason=removed\r\n"
        );
    }
}

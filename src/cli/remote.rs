//! A running proxy, as commands see it: its admin API.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::terminal::Terminal;
use crate::admin::Problem;
use crate::tls::{Outgoing, OutgoingSpec};

/// To connect.
const CONNECT: Duration = Duration::from_secs(5);

/// For an answer: longer than the proxy itself gives one.
const ANSWER: Duration = Duration::from_secs(70);

/// Bytes of an answer: thousands of backends.
const LARGEST: usize = 64 << 20;

/// Which running proxy
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Remote {
    /// Its admin address
    #[arg(
        long,
        value_name = "URL",
        env = "STICKLER_ADMIN",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9900"
    )]
    admin: Base,
    /// A file with the token that its admin.token_file has
    #[arg(long, value_name = "FILE", env = "STICKLER_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// With https://: the authority of its certificate, in PEM, instead of those of the system
    #[arg(long, value_name = "FILE", env = "STICKLER_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// Print JSON, as the admin API gives it
    #[arg(long)]
    pub(super) json: bool,
}

/// The URL of an admin address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Base {
    is_https: bool,
    host: String,
    port: u16,
}

impl Base {
    /// The host without the brackets of an IPv6 address.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let full = if text.contains("://") { text.into() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| "expected a URL such as http://127.0.0.1:9900")?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("expected http:// or https://".into()),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err("the admin API has no path in front of it".into());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("there is no host in it")?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match uri.port_u16() {
            Some(port) => port,
            None if authority.ends_with(host) => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            None => return Err("there is no such port".into()),
        };
        Ok(Base { is_https, host: host.to_owned(), port })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A backend on the command line: `pool/backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) pool: String,
    pub(super) backend: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Names need no escaping in a path, and anything else is no name.
        let is_name = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            (1..=64).contains(&name.len()) && name.chars().all(fits)
        };
        match text.split_once('/') {
            Some((pool, backend)) if is_name(pool) && is_name(backend) => {
                Ok(Target { pool: pool.into(), backend: backend.into() })
            }
            _ => Err("expected POOL/BACKEND, such as shop/shop-1".into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.backend)
    }
}

impl Target {
    /// The path of something about it.
    pub(super) fn path(&self, what: &str) -> String {
        format!("/v1/pools/{}/backends/{}{what}", self.pool, self.backend)
    }
}

/// Why a request to the proxy came to nothing.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// There was no answer that makes sense; in words.
    Unreachable(String),
    /// The answer is no.
    Refused(Box<Problem>),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(why) => Failure::Failed(why),
            Unanswered::Refused(problem) => Failure::Failed(in_words(&problem)),
        }
    }
}

/// What is the matter, and what to do.
pub(super) fn in_words(problem: &Problem) -> String {
    match (&problem.help, problem.status) {
        (_, 401) => "the proxy wants its token: give --token-file FILE, the file that \
                     admin.token_file names"
            .into(),
        (Some(help), _) => format!("{}\n  {help}", problem.detail),
        (None, _) => problem.detail.clone(),
    }
}

/// Speaks with a proxy. Each request has a connection of its own: it may be another process by then.
#[derive(Debug)]
pub(super) struct Client {
    base: Base,
    token: Option<HeaderValue>,
    /// With `https://`.
    tls: Option<Outgoing>,
}

impl Remote {
    /// Prints what the proxy said: as it is, or in words.
    pub(super) fn print(
        &self,
        terminal: &Terminal,
        answer: &impl Serialize,
        in_words: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => terminal.print(&format!("{}\n", super::json(answer)?)),
            false => terminal.print(&in_words()),
        }
    }

    /// A client for that proxy.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let read = |path: &PathBuf| {
            let cannot =
                |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(cannot)?;
            let mut token = HeaderValue::try_from(format!("Bearer {}", text.trim()))
                .map_err(|_| Failure::failed(format!("there is no token in {}", path.display())))?;
            token.set_sensitive(true);
            Ok::<_, Failure>(token)
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Ok(Client { base: self.admin.clone(), token, tls: self.tls()? })
    }

    fn tls(&self) -> Result<Option<Outgoing>, Failure> {
        if !self.admin.is_https {
            return match self.ca {
                Some(_) => Err(Failure::Mistake(format!(
                    "error: {} is not spoken to over TLS, so --ca has no use: write https://",
                    self.admin
                ))),
                None => Ok(None),
            };
        }
        let spec = OutgoingSpec::trusting(self.ca.clone());
        Outgoing::new(&spec).map(Some).map_err(Failure::failed)
    }
}

impl Client {
    /// What is at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// What follows from an order.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T, Unanswered> {
        let body = serde_json::to_vec(order);
        let body = body.map_err(|error| Unanswered::Unreachable(error.to_string()))?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// What was removed.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    /// Asks, and understands the answer: also one that says no in the form of `T`, as a reload of
    /// a file with mistakes does.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Unanswered> {
        let (status, answer) = self.talk(method, path, body).await?;
        let strange = || {
            Unanswered::Unreachable(format!(
                "what answers at {} is not Stickler's admin API (status {status})",
                self.base
            ))
        };
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) if !status.is_success() => Err(Unanswered::Refused(Box::new(problem))),
            _ => serde_json::from_slice(&answer).map_err(|_| strange()),
        }
    }

    async fn talk(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let broken = |what: &dyn fmt::Display| {
            Unanswered::Unreachable(format!(
                "the conversation with {} broke off: {what}",
                self.base
            ))
        };
        let stream = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{}:{}", self.base.host, self.base.port));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        let exchange = async {
            match &self.tls {
                None => exchange(stream, request).await,
                Some(tls) => {
                    let stream = tls.secure(stream, Some(self.base.bare_host())).await;
                    let no_tls = |error| {
                        format!(
                            "{error}\n  Does it speak HTTPS? --ca FILE names the authority of its \
                             certificate, which must be for {}",
                            self.base.bare_host()
                        )
                    };
                    exchange(stream.map_err(no_tls)?, request).await
                }
            }
        };
        match timeout(ANSWER, exchange).await {
            Err(_) => Err(broken(&format!("no answer within {ANSWER:?}"))),
            Ok(answer) => answer.map_err(|error| broken(&error)),
        }
    }

    async fn connect(&self) -> Result<TcpStream, Unanswered> {
        let host = self.base.bare_host();
        let why = match timeout(CONNECT, TcpStream::connect((host, self.base.port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {CONNECT:?}"),
        };
        Err(Unanswered::Unreachable(format!(
            "nobody answers at {}: {why}\n  Is the proxy running, and is [admin] on? If it listens \
             elsewhere, give --admin URL or set STICKLER_ADMIN.",
            self.base
        )))
    }
}

/// A request and its answer, over a connection of their own.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    connection.abort();
    Ok((status, body?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let shown = |text: &str| text.parse::<Base>().map(|base| base.to_string());
        for (text, url) in [
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://127.0.0.1:9900/", "http://127.0.0.1:9900"),
            ("localhost:9900", "http://localhost:9900"),
            ("http://[::1]:9900", "http://[::1]:9900"),
            ("http://ops.example", "http://ops.example:80"),
            ("https://ops.example", "https://ops.example:443"),
            ("https://[::1]:9900", "https://[::1]:9900"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(url), "{text}");
        }
        for bad in ["", "ftp://a:1", "http://", "http://a:1/x", "http://a b", "http://a:99999"] {
            assert!(shown(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_backend_is_named_with_its_pool() {
        let target: Target = "shop/shop-1".parse().unwrap();
        assert_eq!(target.path("/drain"), "/v1/pools/shop/backends/shop-1/drain");
        for bad in ["shop", "shop/", "/shop-1", "a/b/c", "a/b?c", "a/.. ", ""] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?} was accepted");
        }
    }
}

//! A browser: a cookie jar, one connection at a time, and limited patience.

mod channel;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cookie_store::{CookieStore, RawCookie};
use http::header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

pub use self::channel::{Channel, ChannelError};
use crate::clock::Stopwatch;

/// Bytes of a response body that are read; more is an error.
const LARGEST_BODY: usize = 16 << 20;

/// What the body of a form is.
const FORM: &str = "application/x-www-form-urlencoded";

/// A client that keeps cookies and connections like a browser.
///
/// It is a *session's* client: two sessions are two browsers. An error costs it its connection and
/// nothing else, so that it can always be asked again.
#[derive(Debug)]
pub struct Browser {
    address: SocketAddr,
    /// What it knows of TLS, if it speaks it.
    tls: Option<Arc<ClientConfig>>,
    host: HeaderValue,
    /// Scheme and host, which the jar asks for.
    origin: Url,
    jar: CookieStore,
    /// Sent with every request.
    headers: HeaderMap,
    connection: Option<Connection>,
    patience: Duration,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// Bytes of the request, head and body.
    pub sent: usize,
    /// From the wish to send the request to the last byte of the body, a new connection included.
    pub latency: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The host or the path cannot be part of a URL.
    #[error("no URL: {0}")]
    Url(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection ended or made no sense.
    #[error("the exchange broke off: {0}")]
    Exchange(#[source] hyper::Error),
    /// The body broke off or is larger than 16 MiB.
    #[error("the body broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Patience is at its end.
    #[error("no answer in time")]
    TimedOut,
}

impl BrowserError {
    /// A short name, for counting.
    pub const fn as_str(&self) -> &'static str {
        match self {
            BrowserError::Url(_) => "url",
            BrowserError::Connect(_) => "connect",
            BrowserError::Exchange(_) => "exchange",
            BrowserError::Body(_) => "body",
            BrowserError::TimedOut => "timed_out",
        }
    }
}

impl Browser {
    /// A browser with an empty jar that connects to `address` and asks for `host`, which may have
    /// a port. Waits for no answer longer than 30 seconds.
    pub fn new(address: SocketAddr, host: &str) -> Result<Self, BrowserError> {
        let origin = Url::parse(&format!("http://{host}/"));
        let origin = origin.map_err(|bad| BrowserError::Url(bad.to_string()))?;
        let host = HeaderValue::from_str(host).map_err(|bad| BrowserError::Url(bad.to_string()))?;
        Ok(Browser {
            address,
            tls: None,
            host,
            origin,
            jar: CookieStore::new(),
            headers: HeaderMap::new(),
            connection: None,
            patience: Duration::from_secs(30),
        })
    }

    /// Waits for no answer longer than this.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Speaks HTTPS.
    pub fn over_tls(mut self, tls: Arc<ClientConfig>) -> Result<Self, BrowserError> {
        let https = self.origin.set_scheme("https");
        https.map_err(|()| BrowserError::Url(self.origin.to_string()))?;
        self.tls = Some(tls);
        Ok(self)
    }

    /// Another browser for the same place, with an empty jar and no connection.
    pub fn another(&self) -> Self {
        Browser {
            address: self.address,
            tls: self.tls.clone(),
            host: self.host.clone(),
            origin: self.origin.clone(),
            jar: CookieStore::new(),
            headers: self.headers.clone(),
            connection: None,
            patience: self.patience,
        }
    }

    /// Another window of the same browser: with a copy of its cookies, and no connection yet.
    pub fn window(&self) -> Self {
        Browser { jar: self.jar.clone(), ..self.another() }
    }

    /// Sends this header field with every request.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The value of the cookie of this name that `/` would be sent.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut cookies = self.jar.get_request_values(&self.origin);
        cookies.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Closes the connection. The next request opens another; the cookies stay.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// GETs `path`, which may have a query.
    pub async fn get(&mut self, path: &str) -> Result<Response, BrowserError> {
        self.ask(Method::GET, path, FORM, Bytes::new()).await
    }

    /// POSTs a form to `path`: fields as in a query, `name=value&...`.
    pub async fn post(&mut self, path: &str, form: &str) -> Result<Response, BrowserError> {
        self.ask(Method::POST, path, FORM, Bytes::copy_from_slice(form.as_bytes())).await
    }

    /// POSTs JSON to `path`, as scripts of pages do.
    pub async fn post_json(&mut self, path: &str, json: &str) -> Result<Response, BrowserError> {
        let body = Bytes::copy_from_slice(json.as_bytes());
        self.ask(Method::POST, path, "application/json", body).await
    }

    /// `kind` is what the body is, if there is one.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Response, BrowserError> {
        let url = self.origin.join(path).map_err(|bad| BrowserError::Url(bad.to_string()))?;
        let stopwatch = Stopwatch::start();
        // Taken, so that every early return and the timeout lose it.
        let connection = self.connection.take();
        let request = self.request(method, &url, kind, body)?;
        let sent = size(&request);
        let exchange = exchange(connection, self.address, self.tls.clone(), request);
        let exchange = timeout(self.patience, exchange).await;
        let (connection, status, headers, body) =
            exchange.map_err(|_| BrowserError::TimedOut)??;
        self.connection = connection.is_reusable().then_some(connection);
        self.keep_cookies(&headers, &url);
        Ok(Response { status, headers, body, sent, latency: stopwatch.elapsed() })
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, BrowserError> {
        let has_body = !body.is_empty();
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let request = Request::builder().method(method).uri(target).body(Full::new(body));
        let mut request = request.map_err(|bad| BrowserError::Url(bad.to_string()))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(HOST, self.host.clone());
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(cookies) = self.cookies(url) {
            headers.insert(COOKIE, cookies);
        }
        Ok(request)
    }

    /// What the jar has for this place.
    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        let cookies = self.jar.get_request_values(url);
        let cookies: Vec<_> = cookies.map(|(name, value)| format!("{name}={value}")).collect();
        HeaderValue::from_str(&cookies.join("; ")).ok().filter(|cookies| !cookies.is_empty())
    }

    /// Unreadable cookies are dropped, as browsers do.
    fn keep_cookies(&mut self, headers: &HeaderMap, url: &Url) {
        let lines = headers.get_all(SET_COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let cookies = lines.filter_map(|line| RawCookie::parse(line.to_owned()).ok());
        self.jar.store_response_cookies(cookies, url);
    }
}

/// Bytes of a request as HTTP/1.1 has them on the wire, as far as its fields are ours.
fn size(request: &Request<Full<Bytes>>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let body = request.body().size_hint().exact().unwrap_or_default() as usize;
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields + body
}

/// One connection and the task that drives it, which ends with it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinSet<()>,
}

impl Connection {
    async fn open(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, BrowserError> {
        let stream = TcpStream::connect(address).await.map_err(BrowserError::Connect)?;
        stream.set_nodelay(true).map_err(BrowserError::Connect)?;
        match tls {
            None => Connection::over(stream).await,
            Some(tls) => {
                let name = ServerName::from(address.ip());
                let stream = TlsConnector::from(tls).connect(name, stream).await;
                Connection::over(stream.map_err(BrowserError::Connect)?).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, BrowserError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(BrowserError::Exchange)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The request that the error concerns gets it as well.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }

    fn is_reusable(&self) -> bool {
        !self.sender.is_closed() && !self.driver.is_empty()
    }
}

/// Sends the request over the connection that is there, or else over a new one, and reads the
/// whole answer.
async fn exchange(
    kept: Option<Connection>,
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, StatusCode, HeaderMap, Bytes), BrowserError> {
    let (connection, response) = match kept {
        Some(mut connection) => match connection.sender.try_send_request(request).await {
            Ok(response) => (connection, response),
            // A kept connection may have been closed meanwhile. What was not sent is sent again;
            // what was sent might have had an effect.
            Err(mut failed) => match failed.take_message() {
                Some(request) => send(address, tls, request).await?,
                None => return Err(BrowserError::Exchange(failed.into_error())),
            },
        },
        None => send(address, tls, request).await?,
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(BrowserError::Body)?;
    Ok((connection, head.status, head.headers, body.to_bytes()))
}

async fn send(
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, http::Response<hyper::body::Incoming>), BrowserError> {
    let mut connection = Connection::open(address, tls).await?;
    let response = connection.sender.send_request(request).await;
    Ok((connection, response.map_err(BrowserError::Exchange)?))
}

#[cfg(test)]
mod tests;

//! A single health check.

mod http2;

use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::balance::{Address, Backend};
use crate::config::{BackendHttp2, HealthCheck, HttpProbe, Probe, Transport};
use crate::proxy_protocol;
use crate::tls::Outgoing;

/// How much of a body is looked at.
const MAX_BODY: usize = 64 * 1024;

/// Who we are.
const AGENT: &str = concat!("stickler/", env!("CARGO_PKG_VERSION"), " (health check)");

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It answers as it should.
    Well {
        /// It asks to be drained.
        asks_to_drain: bool,
    },
    /// It does not, and why.
    Ill(String),
}

/// What is said to a backend before a check.
#[derive(Debug)]
pub(super) struct Way {
    proxy_protocol: Option<proxy_protocol::Version>,
    http2: BackendHttp2,
    tls: Option<Outgoing>,
}

impl Way {
    /// The same that requests go. The files are read.
    pub(super) fn new(transport: &Transport) -> io::Result<Self> {
        let tls = transport.tls.as_ref().map(Outgoing::new).transpose();
        let tls = tls.map_err(io::Error::other)?;
        Ok(Way { proxy_protocol: transport.proxy_protocol, http2: transport.http2, tls })
    }
}

/// Checks a backend once.
pub(super) async fn ask(backend: &Backend, check: &HealthCheck, way: &Way) -> Report {
    match tokio::time::timeout(check.timeout, connect_and_ask(backend, check, way)).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => Report::Ill(error),
        Err(_) => Report::Ill(format!("no answer within {:?}", check.timeout)),
    }
}

async fn connect_and_ask(
    backend: &Backend,
    check: &HealthCheck,
    way: &Way,
) -> Result<Report, String> {
    let connect = |error: io::Error| format!("cannot connect: {error}");
    match backend.address() {
        Address::Tcp { host, port } => {
            let port = check.port.unwrap_or(*port);
            let stream = TcpStream::connect((&**host, port)).await.map_err(connect)?;
            introduce(stream, Some(host), backend, check, way).await
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(connect)?;
            introduce(stream, None, backend, check, way).await
        }
    }
}

/// Says what comes before HTTP.
async fn introduce<S>(
    mut stream: S,
    host: Option<&str>,
    backend: &Backend,
    check: &HealthCheck,
    way: &Way,
) -> Result<Report, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(version) = way.proxy_protocol {
        let header = proxy_protocol::write(version, None);
        stream.write_all(&header).await.map_err(|error| format!("PROXY protocol: {error}"))?;
    }
    match &way.tls {
        None => {
            let is_http2 = way.http2 == BackendHttp2::Yes;
            talk(stream, backend, check, Spoken { is_http2, is_https: false }).await
        }
        Some(tls) => {
            let stream = tls.secure(stream, host).await.map_err(|error| format!("TLS: {error}"))?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if way.http2 == BackendHttp2::Yes && !is_http2 {
                return Err("the backend does not agree to speak HTTP/2".into());
            }
            talk(stream, backend, check, Spoken { is_http2, is_https: true }).await
        }
    }
}

/// What a backend is spoken to in.
#[derive(Clone, Copy)]
struct Spoken {
    is_http2: bool,
    is_https: bool,
}

async fn talk<S>(
    stream: S,
    backend: &Backend,
    check: &HealthCheck,
    spoken: Spoken,
) -> Result<Report, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let probe = match &check.probe {
        Probe::Tcp => return Ok(Report::Well { asks_to_drain: false }),
        Probe::Http(probe) => probe,
        Probe::Grpc(service) => {
            let host = host(backend.address(), check.port).map_err(|error| error.to_string())?;
            let question = http2::Question::of_service(service, &host, spoken.is_https)?;
            return Ok(http2::judge(&http2::ask(stream, question).await?));
        }
    };
    let request =
        request(probe, backend.address(), check.port).map_err(|error| error.to_string())?;
    if spoken.is_http2 {
        let question = http2::Question::from_http1(request, spoken.is_https)?;
        let answer = http2::ask(stream, question).await?;
        return Ok(judge(probe, answer.status, &answer.headers, &answer.body));
    }
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = match &probe.body {
            None => Vec::new(),
            Some(wanted) => read(body, wanted).await?,
        };
        Ok(judge(probe, head.status, &head.headers, &body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        report = &mut exchange => report,
        // The connection may end before the answer has been read out of it.
        _ = connection => exchange.await,
    }
}

/// The beginning of a body: as much of it as it takes to find what is wanted, or not to.
async fn read(mut body: Incoming, wanted: &str) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    while read.len() < MAX_BODY && memmem::find(&read, wanted.as_bytes()).is_none() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| format!("body: {error}"))?;
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    Ok(read)
}

fn request(
    probe: &HttpProbe,
    address: &Address,
    other_port: Option<u16>,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = match &probe.host {
        Some(host) => host.clone(),
        None => host(address, other_port)?,
    };
    Request::get(probe.path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::new())
}

/// The host that is asked unless something else is said.
fn host(address: &Address, other_port: Option<u16>) -> Result<HeaderValue, http::Error> {
    match address {
        Address::Tcp { host, port } => {
            let asked = Address::Tcp { host: host.clone(), port: other_port.unwrap_or(*port) };
            Ok(HeaderValue::try_from(asked.to_string())?)
        }
        Address::Unix(_) => Ok(HeaderValue::from_static("localhost")),
    }
}

fn judge(probe: &HttpProbe, status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Report {
    if probe.drain_status == Some(status) {
        return Report::Well { asks_to_drain: true };
    }
    let code = status.as_u16();
    if !probe.expect.iter().any(|&(first, last)| (first..=last).contains(&code)) {
        return Report::Ill(format!("status {code}"));
    }
    if let Some(wanted) = &probe.body
        && memmem::find(body, wanted.as_bytes()).is_none()
    {
        return Report::Ill(format!("the body does not contain {wanted:?}"));
    }
    let asks = probe.drain_header.as_ref().is_some_and(|name| headers.contains_key(name));
    Report::Well { asks_to_drain: asks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> HttpProbe {
        HttpProbe {
            path: "/healthz".into(),
            host: None,
            expect: vec![(200, 299), (304, 304)],
            body: Some("ok".into()),
            drain_status: Some(StatusCode::NOT_FOUND),
            drain_header: Some(http::HeaderName::from_static("x-drain")),
        }
    }

    #[test]
    fn answers_are_judged() {
        let judged = |status: u16, headers: &[(&'static str, &'static str)], body: &str| {
            let mut map = http::HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            judge(&probe(), StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
        };
        let well = |asks_to_drain| Report::Well { asks_to_drain };
        assert_eq!(judged(200, &[], "all ok"), well(false));
        assert_eq!(judged(304, &[], "ok"), well(false));
        assert_eq!(judged(200, &[("x-drain", "1")], "ok"), well(true));
        assert_eq!(judged(404, &[], ""), well(true));
        assert_eq!(judged(500, &[], "ok"), Report::Ill("status 500".into()));
        assert!(matches!(judged(200, &[], "no"), Report::Ill(why) if why.contains("\"ok\"")));
    }

    #[test]
    fn the_request_names_its_host() {
        let address: Address = "[::1]:80".parse().unwrap();
        let host = |probe: &HttpProbe, port| {
            request(probe, &address, port).unwrap().headers()[HOST].clone()
        };
        assert_eq!(host(&probe(), None), "[::1]:80");
        assert_eq!(host(&probe(), Some(81)), "[::1]:81", "it is that port that is asked");
        let named = HttpProbe { host: Some(HeaderValue::from_static("shop")), ..probe() };
        assert_eq!(host(&named, Some(81)), "shop");
    }
}

//! What comes before HTTP on some connections: the PROXY protocol, and TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::client_socket::ClientSocket;
use super::connection::{LINGER, linger};
use super::destination::{Entrance, TlsEntrance};
use super::error::Problem;
use super::record;
use super::security::Security;
use super::watch::{Side, Tick, ticks};
use super::worker::Entered;
use crate::http::forwarded;
use crate::http::request_head::field;
use crate::proxy_protocol::{self, Header};
use crate::tls;

/// The first byte of a TLS connection: a record with a handshake in it.
const HANDSHAKE: u8 = 0x16;

/// A connection on which HTTP can begin.
pub(crate) struct Arrival {
    pub(crate) socket: ClientSocket,
    pub(crate) client: Rc<Client>,
    pub(crate) entered: Entered,
    /// It is to be HTTP/2.
    pub(crate) is_http2: bool,
}

/// Does anything come before HTTP on a connection from there?
pub(crate) fn is_needed(entrance: &Entrance, peer: SocketAddr) -> bool {
    entrance.tls.is_some() || entrance.http2 || begins_with_header(entrance, peer).is_some()
}

/// How long what comes first may take, silence included. `None`: as long as a request.
pub(crate) fn patience(entrance: &Entrance, peer: SocketAddr) -> Option<Tick> {
    let of_keys = || entrance.tls.as_ref().map(|tls| tls.handshake_timeout);
    begins_with_header(entrance, peer).or_else(of_keys)
}

/// Nothing came in time.
pub(crate) fn note_silence(client: &Client) {
    if begins_with_header(&client.entrance, client.address).is_some() {
        warn_of_header(client, &"no PROXY protocol header in time");
    }
}

/// A load balancer that is not configured as we are: nobody gets through.
fn warn_of_header(client: &Client, why: &dyn std::fmt::Display) {
    tracing::warn!(peer = %client.peer, listener = %client.entrance.address, "{why}");
}

/// How long a PROXY protocol header may take, if one must come.
fn begins_with_header(entrance: &Entrance, peer: SocketAddr) -> Option<Tick> {
    let protocol = entrance.proxy_protocol.as_ref()?;
    let is_sender = forwarded::is_trusted(forwarded::canonical(peer.ip()), &protocol.from);
    is_sender.then(|| ticks(protocol.timeout))
}

/// Sees to what comes before HTTP. The client has said something, and has [`patience`] left for the
/// first of it. `None` if the connection is over.
pub(crate) async fn receive(
    stream: TcpStream,
    mut client: Rc<Client>,
    mut entered: Entered,
) -> Option<Arrival> {
    let entrance = client.entrance.clone();
    if begins_with_header(&entrance, client.address).is_some() {
        let Some(header) = client.unless_late(read_header(&stream)).await else {
            note_silence(&client);
            return None;
        };
        let header = header.inspect_err(|error| warn_of_header(&client, error)).ok()?;
        let security = match header.is_tls {
            true => Security::Tls { subject_line: Box::default() },
            false => Security::None,
        };
        let address = header.source.unwrap_or(client.address);
        (client, entered) = replace(&client, entered, address, security);
        if let Some(tls) = &entrance.tls {
            client.watch.set(Side::ClientRead, client.worker.after(tls.handshake_timeout));
        }
    }
    let (socket, is_http2) = match &entrance.tls {
        None => {
            let is_http2 =
                entrance.http2 && client.unless_late(begins_http2(&stream)).await?.ok()?;
            (ClientSocket::Plain(stream), is_http2)
        }
        Some(tls) => {
            let mut first = [0];
            if client.unless_late(stream.peek(&mut first)).await?.ok()? == 0 {
                return None;
            }
            if first[0] != HANDSHAKE {
                refuse_plain(stream, first[0], &client, entered).await;
                return None;
            }
            let (socket, security) = client.unless_late(shake_hands(stream, tls)).await??;
            let address = client.address;
            (client, entered) = replace(&client, entered, address, security);
            let is_http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
            (ClientSocket::Tls(Box::new(socket)), is_http2)
        }
    };
    Some(Arrival { socket, client, entered, is_http2 })
}

/// Does the client begin with HTTP/2, without having asked? Nothing is read.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    /// The beginning of the preface (RFC 9113, section 3.4), which no request begins with.
    const PREFACE: &[u8] = b"PRI";
    /// Until another look when less of it is there.
    const PAUSE: Duration = Duration::from_millis(10);

    loop {
        let mut first = [0; PREFACE.len()];
        let seen = stream.peek(&mut first).await?;
        if seen == PREFACE.len() || seen == 0 || !PREFACE.starts_with(&first[..seen]) {
            return Ok(first == PREFACE);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same client, of whom more is known now.
fn replace(
    client: &Rc<Client>,
    entered: Entered,
    address: SocketAddr,
    security: Security,
) -> (Rc<Client>, Entered) {
    drop(entered);
    let client = client.known_as(address, security);
    let entered = client.worker.enter(client.clone());
    (client, entered)
}

/// Reads a PROXY protocol header, and nothing of what is behind it.
async fn read_header(stream: &TcpStream) -> io::Result<Header> {
    let no_header = || io::Error::new(io::ErrorKind::InvalidData, proxy_protocol::Malformed);
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let seen = stream.peek(&mut piece).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = read.len();
        read.extend_from_slice(&piece[..seen]);
        let header = proxy_protocol::read(&read).map_err(|_| no_header())?;
        let taken = header.map_or(read.len(), |header| header.length) - before;
        // What was seen is there.
        let mut rest = &mut piece[..taken];
        while !rest.is_empty() {
            stream.readable().await?;
            match stream.try_read(rest) {
                Ok(length) => rest = &mut rest[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        match header {
            Some(header) => return Ok(header),
            None if read.len() > proxy_protocol::LONGEST => return Err(no_header()),
            None => {}
        }
    }
}

/// Agrees on keys.
async fn shake_hands(
    stream: TcpStream,
    tls: &TlsEntrance,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Security)> {
    let _place = tls.handshakes.acquire().await.ok()?;
    let accepted = Box::pin(TlsAcceptor::from(tls.incoming.config()).accept(stream)).await;
    match accepted {
        Ok(stream) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let subject = certificate.and_then(tls::subject);
            let security = Security::Tls { subject_line: subject_line(tls, subject) };
            Some((stream, security))
        }
        Err(error) => {
            // Anybody can cause as many of these as they like.
            tracing::debug!(%error, "no TLS");
            None
        }
    }
}

/// The field line that tells an app who its client says it is.
fn subject_line(tls: &TlsEntrance, subject: Option<String>) -> Box<[u8]> {
    let mut line = Vec::new();
    if let (Some(name), Some(subject)) = (&tls.subject_header, subject) {
        field(&mut line, HeaderName::as_str(name), subject.as_bytes());
    }
    line.into()
}

/// Somebody speaks plain HTTP to a port for HTTPS: they are told, since they could not make sense
/// of a TLS alert. Anybody else is not answered.
async fn refuse_plain(stream: TcpStream, first: u8, client: &Rc<Client>, entered: Entered) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
        content-type: text/plain\r\ncontent-length: 38\r\nconnection: close\r\n\r\n\
        This port speaks HTTPS, not plain HTTP";

    if !first.is_ascii_alphabetic() {
        return;
    }
    let problem = Problem::plain_http();
    problem.log(client);
    record::refuse(client, &problem);
    let _until_the_end = entered.linger();
    let mut socket = ClientSocket::Plain(stream);
    let _ = tokio::time::timeout(LINGER, pin!(socket.write_all(ANSWER))).await;
    linger(&mut socket).await;
}

/// What a listener's connections need to know of its TLS.
impl TlsEntrance {
    /// Compiles the configuration. The files are read.
    pub(crate) fn new(config: &crate::config::ListenerTls) -> Result<Self, tls::Error> {
        Ok(TlsEntrance::with(config, Arc::new(tls::Incoming::new(config.incoming.clone())?)))
    }

    /// The same for a listener that has had another one: if it is to say the same, what it has
    /// agreed on with clients stays good. The files are read again.
    pub(crate) fn like(
        config: &crate::config::ListenerTls,
        former: Option<&TlsEntrance>,
    ) -> Result<Self, tls::Error> {
        match former.filter(|former| *former.incoming.spec() == config.incoming) {
            Some(former) => {
                former.incoming.reload()?;
                Ok(TlsEntrance::with(config, former.incoming.clone()))
            }
            None => TlsEntrance::new(config),
        }
    }

    fn with(config: &crate::config::ListenerTls, incoming: Arc<tls::Incoming>) -> Self {
        TlsEntrance {
            incoming,
            subject_header: config.subject_header.clone(),
            hsts: config.hsts.clone(),
            handshake_timeout: ticks(config.handshake_timeout),
            handshakes: tokio::sync::Semaphore::new(
                config.max_handshakes.min(tokio::sync::Semaphore::MAX_PERMITS),
            ),
        }
    }
}

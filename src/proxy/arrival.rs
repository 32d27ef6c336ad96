//! What comes before HTTP on some connections: TLS.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::client::{Client, Security};
use super::client_socket::ClientSocket;
use super::connection::{LINGER, linger};
use super::destination::{Entrance, TlsEntrance};
use super::watch::Side;
use super::worker::Entered;
use crate::http::request_head::field;
use crate::tls;

/// The first byte of a TLS connection: a record with a handshake in it.
const HANDSHAKE: u8 = 0x16;

/// A connection on which HTTP can begin.
pub(crate) struct Arrival {
    pub(crate) socket: ClientSocket,
    pub(crate) client: Rc<Client>,
    pub(crate) entered: Entered,
}

/// Does anything come before HTTP here?
pub(crate) fn is_needed(entrance: &Entrance) -> bool {
    entrance.tls.is_some()
}

/// Sees to what comes before HTTP. The client has said something. `None` if the connection is over.
pub(crate) async fn receive(
    stream: TcpStream,
    client: &Rc<Client>,
    entered: Entered,
) -> Option<Arrival> {
    let entrance = client.entrance.clone();
    let Some(tls) = &entrance.tls else { return None };
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != HANDSHAKE {
        refuse_plain(stream, first[0], entered).await;
        return None;
    }
    client.watch.set(Side::ClientRead, client.worker.after(tls.handshake_timeout));
    let (socket, security) = client.unless_late(shake_hands(stream, tls)).await??;
    let socket = ClientSocket::Tls(Box::new(socket));
    drop(entered);
    let secured = Client::new(client.worker.clone(), entrance, client.address, security);
    let entered = secured.worker.enter(secured.clone());
    Some(Arrival { socket, client: secured, entered })
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
async fn refuse_plain(stream: TcpStream, first: u8, entered: Entered) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
        content-type: text/plain\r\ncontent-length: 38\r\nconnection: close\r\n\r\n\
        This port speaks HTTPS, not plain HTTP";

    if !first.is_ascii_alphabetic() {
        return;
    }
    let _until_the_end = entered.linger();
    let mut socket = ClientSocket::Plain(stream);
    let _ = tokio::time::timeout(LINGER, pin!(socket.write_all(ANSWER))).await;
    linger(&mut socket).await;
}

/// What a listener's connections need to know of its TLS.
impl TlsEntrance {
    /// Compiles the configuration. The files are read.
    pub(crate) fn new(config: &crate::config::ListenerTls) -> Result<Self, tls::Error> {
        Ok(TlsEntrance {
            incoming: Arc::new(tls::Incoming::new(config.incoming.clone())?),
            subject_header: config.subject_header.clone(),
            hsts: config.hsts.clone(),
            handshake_timeout: super::watch::ticks(config.handshake_timeout),
            handshakes: tokio::sync::Semaphore::new(
                config.max_handshakes.min(tokio::sync::Semaphore::MAX_PERMITS),
            ),
        })
    }
}

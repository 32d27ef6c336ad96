//! How an authority is spoken to: HTTP/1.1 over TLS as backends are, a connection for each request,
//! since there are few.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::TcpStream;

use crate::tls::{self, AcmeSpec, Outgoing, OutgoingSpec};

/// Speaks to an authority.
pub(super) struct Https(Arc<Outgoing>);

impl Https {
    /// As the configuration says whom to believe.
    pub(super) fn new(acme: &AcmeSpec) -> Result<Self, tls::Error> {
        let spec = OutgoingSpec::trusting(acme.ca.clone());
        Ok(Https(Arc::new(Outgoing::new(&spec)?)))
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = self.0.clone();
        Box::pin(
            async move { ask(&tls, request).await.map_err(|error| Error::Other(error.into())) },
        )
    }
}

async fn ask(
    tls: &Outgoing,
    mut request: Request<BodyWrapper<Bytes>>,
) -> io::Result<BytesResponse> {
    let no_host = || io::Error::new(io::ErrorKind::InvalidInput, "a URL without a host");
    let authority = request.uri().authority().cloned().ok_or_else(no_host)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await?;
    let stream = tls.secure(stream, Some(host)).await?;
    address(&mut request, &authority).map_err(io::Error::other)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(connection); // it ends with the response
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(BytesResponse::from(response))
}

/// The origin form, and who is meant in `Host`.
fn address<B>(request: &mut Request<B>, authority: &Authority) -> Result<(), http::Error> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = Uri::try_from(target)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(authority.as_str())?);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(())
}

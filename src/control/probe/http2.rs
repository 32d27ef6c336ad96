//! A health check over HTTP/2: by a path, or by gRPC's own protocol.

use std::fmt;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::Builder;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{AGENT, MAX_BODY, Report};
use crate::http::grpc::{self, Serving};

/// What is asked, and where it goes.
pub(super) struct Question {
    request: Request<()>,
    content: Bytes,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    trailers: HeaderMap,
}

impl Question {
    /// A GET, from how it would be asked in HTTP/1.1.
    pub(super) fn from_http1<B>(request: Request<B>, is_https: bool) -> Result<Self, String> {
        let (head, _) = request.into_parts();
        let mut headers = head.headers;
        let host = headers.remove(HOST).ok_or("no host")?;
        headers.remove(http::header::CONNECTION);
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = uri(&host, path, is_https)?;
        let mut request = Request::new(());
        (*request.uri_mut(), *request.headers_mut()) = (uri, headers);
        *request.version_mut() = Version::HTTP_2;
        Ok(Question { request, content: Bytes::new() })
    }

    /// The standard health check of gRPC.
    pub(super) fn of_service(
        service: &str,
        host: &HeaderValue,
        is_https: bool,
    ) -> Result<Self, String> {
        let request = Request::post(uri(host, grpc::HEALTH_CHECK, is_https)?)
            .version(Version::HTTP_2)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(());
        let content = grpc::health_request(service).into();
        Ok(Question { request: request.map_err(in_words)?, content })
    }
}

fn uri(host: &HeaderValue, path: &str, is_https: bool) -> Result<Uri, String> {
    let scheme = if is_https { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = Authority::try_from(host.as_bytes()).map_err(in_words)?;
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(in_words)
}

fn in_words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Asks on a connection that has just been made.
pub(super) async fn ask<S>(stream: S, question: Question) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    let handshake = builder.enable_push(false).max_header_list_size(64 * 1024).handshake(stream);
    let (sender, connection) = handshake.await.map_err(in_words)?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(in_words)?;
        let Question { request, content } = question;
        let asked = sender.send_request(request, content.is_empty()).map_err(in_words)?;
        let (response, mut body) = asked;
        if !content.is_empty() {
            body.send_data(content, true).map_err(in_words)?;
        }
        read(response.await.map_err(in_words)?).await.map_err(in_words)
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection may end before the answer has been read out of it.
        _ = connection => exchange.await,
    }
}

/// An answer, with as much of its body as is looked at.
async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while body.len() < MAX_BODY
        && let Some(data) = stream.data().await
    {
        let data = data?;
        body.extend_from_slice(&data);
        let _ = stream.flow_control().release_capacity(data.len());
    }
    let trailers = match body.len() < MAX_BODY {
        true => stream.trailers().await?,
        false => None,
    };
    let trailers = trailers.unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body, trailers })
}

/// What an answer to gRPC's health check means.
pub(super) fn judge(answer: &Answer) -> Report {
    if answer.status != StatusCode::OK {
        return Report::Ill(format!("status {}", answer.status.as_u16()));
    }
    let status = answer.trailers.get("grpc-status").or(answer.headers.get("grpc-status"));
    match status.and_then(|status| grpc::status(status.as_bytes())) {
        Some(0) => {}
        Some(status) => return Report::Ill(format!("gRPC status {status}")),
        None => return Report::Ill("no gRPC status".into()),
    }
    match grpc::health_response(&answer.body) {
        Ok(Serving::Serving) => Report::Well { asks_to_drain: false },
        Ok(Serving::NotServing) => Report::Ill("it says NOT_SERVING".into()),
        Ok(Serving::ServiceUnknown) => Report::Ill("it says SERVICE_UNKNOWN".into()),
        Ok(Serving::Unknown) => Report::Ill("it says UNKNOWN".into()),
        Err(malformed) => Report::Ill(malformed.to_string()),
    }
}

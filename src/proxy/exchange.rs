//! The life of a request, top to bottom. `docs/life-of-a-request.md` tells the same story.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    STRICT_TRANSPORT_SECURITY, UPGRADE,
};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body::Body;

use super::affinity::Known;
use super::attempt::Attempt;
use super::body::{Broken, Pace, Progress, RequestBody, RequestStream, ResponseBody, Upload};
use super::client::Client;
use super::destination::{Destination, Site};
use super::error::Problem;
use super::handling::{Action, Handling, Route, Way};
use super::http2_head;
use super::record;
use super::request::{self, Rewritten};
use super::request_id;
use super::watch::{Side, ticks};
use crate::balance::Placement;
use crate::config::Compression;
use crate::http::fields::Found;
use crate::http::grpc;
use crate::observe::access_log::Phase;
use crate::tls;

/// How long the client of a call waits.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The client is gone: nobody is there to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLeft;

impl fmt::Display for ClientLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client left")
    }
}

impl Error for ClientLeft {}

/// Why a request gets no answer from a backend.
pub(crate) enum Stop {
    /// It gets one of ours.
    Problem(Problem),
    /// It gets none.
    Left,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Problem(problem)
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::ClientStalled => Problem::request_timeout().into(),
            Broken::TooLarge => Problem::body_too_large().into(),
            Broken::Client => Stop::Left,
            Broken::Backend | Broken::BackendStalled => Problem::bad_gateway(broken).into(),
        }
    }
}

/// Serves one request: the service that hyper calls, or the task of a stream.
pub(crate) async fn exchange(
    client: Rc<Client>,
    mut head: Parts,
    body: RequestStream,
) -> Result<Response<ResponseBody>, ClientLeft> {
    let count = client.begin_exchange(head.version, !body.is_end_stream());
    let site = &client.worker.site();
    if client.is_stream() {
        note_deadline(&client, &head);
    }
    let mut handling = None;
    let served = {
        // Large: it is not to be moved.
        let mut serving = pin!(serve(&client, site, &mut head, body, &mut handling));
        poll_fn(|cx| client.poll_unless_overdue(serving.as_mut(), cx)).await
    };
    let mut response = match served.unwrap_or_else(|| Err(Problem::overdue().into())) {
        Ok(response) => response,
        Err(stop) => {
            let problem = match (stop, client.body_refusal()) {
                (_, Some(refusal)) => Problem::refused(refusal),
                (Stop::Problem(problem), None) => problem,
                (Stop::Left, None) => {
                    client.record.note_left();
                    client.record.close(&client);
                    return Err(ClientLeft);
                }
            };
            let id = client.record.id(&client);
            client.record.note_problem(problem.kind());
            problem.log_request(&client, &id);
            let fields = client.fields.borrow();
            let content = fields.get(CONTENT_TYPE.as_str());
            let is_call = content.is_some_and(grpc::is_call);
            let mut answer = match is_call && client.is_stream() {
                true => problem.grpc_response(&id),
                false => {
                    let pages = [handling.map(Handling::error_pages), Some(&site.error_pages)];
                    let mut response = problem.response(fields.get(ACCEPT.as_str()), &id, pages);
                    if let Some(handling) = handling {
                        handling.complete(response.headers_mut());
                    }
                    response
                }
            };
            site.request_ids.place(answer.headers_mut());
            answer
        }
    };
    if let Some(handling) = handling {
        handling.finish(&mut response, &client);
    }
    if let Some(hsts) = client.entrance.tls.as_ref().and_then(|tls| tls.hsts.as_ref()) {
        let headers = response.headers_mut();
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
    let is_last = count >= site.limits.requests_per_connection;
    // An HTTP/1.0 client finds the end of such a body by the end of the connection only.
    let ends_with_connection =
        head.version == Version::HTTP_10 && response.body().size_hint().exact().is_none();
    client.answered();
    client.record.note_status(response.status());
    if client.is_stream() {
        if is_last {
            client.use_up();
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            end_if_whole(&client, &response);
        }
        return Ok(response);
    }
    // A tunnel ends with its connection anyway, and `close` would take the place of `upgrade`.
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let closes = is_last
        || ends_with_connection
        || ends_unread(&client, &response)
        || client.body_refusal().is_some()
        || client.worker.is_shutting_down();
    if closes && !switches {
        client.close_after_this();
        let names_upgrade = response.headers().contains_key(UPGRADE); // as 426 does
        let last = if names_upgrade { "upgrade, close" } else { "close" };
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static(last));
        if head.version == Version::HTTP_10 {
            // Else hyper would say `keep-alive` beside it.
            *response.version_mut() = Version::HTTP_10;
        }
    }
    end_if_whole(&client, &response);
    Ok(response)
}

/// A call of gRPC may say how long its client waits.
fn note_deadline(client: &Client, head: &Parts) {
    let fields = &head.headers;
    let is_call = |content: &HeaderValue| grpc::is_call(content.as_bytes());
    if fields.get(CONTENT_TYPE).is_some_and(is_call)
        && let Some(timeout) = fields.get(GRPC_TIMEOUT)
        && let Some(timeout) = grpc::timeout(timeout.as_bytes())
    {
        client.watch.set(Side::Deadline, client.worker.after(ticks(timeout)));
    }
}

/// Ends the exchange, unless its body does so when it ends.
fn end_if_whole(client: &Client, response: &Response<ResponseBody>) {
    if let ResponseBody::Whole(body) = response.body() {
        client.record.note_sent(body.as_ref().map_or(0, Bytes::len));
        client.end_exchange();
    }
}

/// Will the connection end with this response because nobody reads the rest of the request? Not if
/// both may go on side by side, as with an app that answers while it reads.
fn ends_unread(client: &Client, response: &Response<ResponseBody>) -> bool {
    let status = response.status();
    let is_whole = matches!(response.body(), ResponseBody::Whole(_));
    client.owes_body() && (is_whole || status.is_client_error() || status.is_server_error())
}

/// `found` is what the request's route does on the way, once it is known.
async fn serve<'a>(
    client: &Rc<Client>,
    site: &'a Site,
    head: &mut Parts,
    body: RequestStream,
    found: &mut Option<&'a Handling>,
) -> Result<Response<ResponseBody>, Stop> {
    let adapted = match client.is_stream() {
        true => http2_head::adapt(head, body.is_end_stream(), client),
        false => Ok(()),
    };
    record::begin_line(client, head); // the fields are where they belong by now
    adapted?;
    if !site.guarded.is_empty() {
        request::guard(&mut client.fields.borrow_mut(), &site.guarded);
    }
    request::admit(head, &mut client.fields.borrow_mut(), client.is_about_server())?;
    request_id::identify(client, &mut client.fields.borrow_mut());
    if site.answers_authorities
        && let Some(answer) = tls::challenges().answer(head.uri.path())
    {
        return Ok(Response::new(ResponseBody::whole(answer.into())));
    }
    if let Some(port) = client.entrance.redirect_to_https {
        return Err(request::to_https(head, &client.fields.borrow(), port)?.into());
    }
    let Route { action, handling } = route(client, site, head)?;
    let handling = handling.as_deref();
    if let Some(handling) = handling {
        *found = Some(handling);
        handling.admit(head, &client.fields.borrow(), client)?;
    }
    let (destination, known) = match action {
        Action::Pool(destination) => (destination, Known::Nothing),
        Action::Split(split) => split.choose(client, &client.fields.borrow(), &head.uri),
        Action::Redirect(to) => return Err(to.problem(head, &client.fields.borrow()).into()),
    };
    if !body.is_end_stream() {
        client.record.note_pool(&destination.pool);
    }
    let payload = receive(client, head, body).await?;
    let (mut attempt, rewritten) =
        Attempt::new(client, &Way { destination, handling, known }, head, payload);
    client.record.note_hint(&rewritten.hint, destination.unstick.as_ref());
    forward(&mut attempt, rewritten, handling, &mut head.headers).await
}

/// What becomes of this?
fn route<'a>(client: &Client, site: &'a Site, head: &Parts) -> Result<&'a Route, Problem> {
    let fields = &client.fields.borrow();
    let has = |name: &HeaderName, wanted: Option<&HeaderValue>| {
        let mut values = fields.get_all(name.as_str());
        values.any(|value| wanted.is_none_or(|wanted| wanted == value))
    };
    let found = site.routes.find(request::host(fields), head.uri.path(), &head.method, has);
    found.ok_or_else(Problem::no_route)
}

/// A request's body as it will be sent, and what can be known of it while it is.
pub(crate) struct Payload {
    pub(crate) body: RequestBody,
    /// Of a body that streams.
    pub(crate) progress: Option<Rc<Progress>>,
}

/// Decides how the body is passed on. A short one is read before a backend is bothered: however
/// slowly the client sends it, no backend waits for it, and it can be sent twice.
async fn receive(
    client: &Rc<Client>,
    head: &Parts,
    mut incoming: RequestStream,
) -> Result<Payload, Stop> {
    if incoming.is_end_stream() {
        return Ok(Payload { body: RequestBody::Whole(Bytes::new()), progress: None });
    }
    let limits = &client.worker.site().limits;
    let declared = incoming.length();
    if declared.is_some_and(|length| length > limits.body_bytes) {
        return Err(Problem::body_too_large().into());
    }
    let expects_continue = head.version > Version::HTTP_10 && expects_continue(client);
    match declared {
        Some(length) if length <= limits.request_buffer as u64 && !expects_continue => {
            let whole = read(client, &mut incoming, length as usize).await?;
            client.record.note_received(whole.len());
            client.record.mark(Phase::Body);
            Ok(Payload { body: RequestBody::Whole(whole), progress: None })
        }
        _ => {
            let (upload, progress) = Upload::new(incoming, client.clone(), expects_continue);
            Ok(Payload { body: RequestBody::Streamed(upload), progress: Some(progress) })
        }
    }
}

/// Does the client wait to be asked for the body?
fn expects_continue(client: &Client) -> bool {
    let fields = client.fields.borrow();
    let mut expectations = fields.of_kind(Found::EXPECT);
    expectations.next().is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a whole body of a known length.
async fn read(client: &Client, incoming: &mut RequestStream, length: usize) -> Result<Bytes, Stop> {
    let mut pace = Pace::default();
    let mut whole = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| match pace.poll_frame(incoming, client, cx) {
            Poll::Pending if client.has_left() => Poll::Ready(Some(Err(Broken::Client))),
            polled => polled,
        });
        let Some(frame) = frame.await.transpose()? else { break };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() == length {
            return Ok(data); // nearly always: it came in one piece
        }
        whole.reserve(length - whole.len());
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Places the request, sends it, and prepares the answer; again elsewhere while it has provably
/// not been seen by anybody.
async fn forward(
    attempt: &mut Attempt<'_>,
    rewritten: Rewritten,
    handling: Option<&Handling>,
    map: &mut HeaderMap,
) -> Result<Response<ResponseBody>, Stop> {
    loop {
        let (placement, in_flight) = attempt.place(rewritten.hint).await?;
        let Some(upstream) = attempt.acquire(&placement).await? else {
            attempt.fail(in_flight);
            continue;
        };
        if let Some(answered) = attempt.send(&placement, upstream, in_flight, map).await? {
            let Attempt { client, destination, is_head, .. } = *attempt;
            let told = Told { client, destination, handling, placement, rewritten, is_head };
            return Ok(answered.into_response(&told)?);
        }
    }
}

/// What an answer needs to know of its request.
pub(crate) struct Told<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) destination: &'a Arc<Destination>,
    pub(crate) handling: Option<&'a Handling>,
    pub(crate) placement: Placement,
    pub(crate) rewritten: Rewritten,
    /// It is a HEAD.
    pub(crate) is_head: bool,
}

impl Told<'_> {
    /// How its answer is compressed, if at all: the route has the last word.
    pub(crate) fn compression(&self) -> Option<&Compression> {
        match self.handling.and_then(Handling::compression) {
            Some(of_route) => of_route,
            None => self.destination.compression.as_deref(),
        }
    }
}

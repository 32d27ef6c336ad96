use std::net::SocketAddr;

use super::{Backend, Client, Request, Response};

/// App servers named `b0`, `b1`, ... that answer every request with their name and what they were
/// told about the session: `b1 bound`.
pub fn apps<const N: usize>() -> [Backend; N] {
    std::array::from_fn(app)
}

/// The app server of this number.
pub fn app(number: usize) -> Backend {
    app_at("127.0.0.1:0", number)
}

/// The same at a given address, for an app server that comes back.
pub fn app_at(address: &str, number: usize) -> Backend {
    Backend::answering_at(address, move |request| answer(number, request))
}

/// What it answers.
pub(super) fn answer(number: usize, request: &Request) -> String {
    let told = request.field("stickler-affinity").unwrap_or("nothing");
    let body = format!("b{number} {told}");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A client that keeps the cookie that it was last given, and sends it with every request.
pub struct Visitor {
    address: SocketAddr,
    /// `name=value`
    pub cookie: Option<String>,
}

impl Visitor {
    /// One that was never there before.
    pub fn new(address: SocketAddr) -> Self {
        Visitor { address, cookie: None }
    }

    /// One that comes with this cookie, `name=value`.
    pub fn with(address: SocketAddr, cookie: &str) -> Self {
        Visitor { address, cookie: Some(cookie.to_owned()) }
    }

    /// The line that carries the cookie; empty without one.
    pub fn cookie_line(&self) -> String {
        self.cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect()
    }

    /// A GET over a connection of its own. The answer's cookie is kept.
    #[track_caller]
    pub fn get(&mut self) -> Response {
        let response = Client::connect(self.address).get("/", &self.cookie_line());
        if let Some(cookie) = response.cookie() {
            self.cookie = Some(cookie);
        }
        response
    }

    /// What an app of [`apps`] answers.
    #[track_caller]
    pub fn visit(&mut self) -> String {
        let response = self.get();
        assert_eq!(response.status, 200, "{response:?}");
        response.text()
    }
}

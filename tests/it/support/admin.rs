use std::net::SocketAddr;

use serde_json::Value;

use super::{Client, Response};

/// A table that turns the admin address on, on a free port.
pub const ON: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// The admin address of a proxy.
#[derive(Clone)]
pub struct Admin {
    pub address: SocketAddr,
    /// Lines of every request, each ended by CRLF.
    pub lines: String,
}

impl Admin {
    pub fn at(address: SocketAddr) -> Self {
        Admin { address, lines: String::new() }
    }

    /// The same with this bearer token.
    pub fn with_token(&self, token: &str) -> Self {
        Admin { lines: format!("Authorization: Bearer {token}\r\n"), ..self.clone() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request on a connection of its own.
    #[track_caller]
    pub fn send(&self, method: &str, target: &str, lines: &str, body: &str) -> Response {
        let (address, length) = (self.address, body.len());
        let framing = match body {
            "" => String::new(),
            _ => format!("Content-Length: {length}\r\n"),
        };
        let mut client = Client::connect(address);
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{}{lines}{framing}\r\n{body}",
            self.lines
        ));
        client.try_response(method == "HEAD").expect("no whole response head came")
    }

    /// The JSON at a path.
    #[track_caller]
    pub fn get(&self, target: &str) -> Value {
        let response = self.send("GET", target, "", "");
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Sends this JSON, and gives the status and the JSON of the answer.
    #[track_caller]
    pub fn order(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let response = self.send(method, target, "Content-Type: application/json\r\n", body);
        let json = serde_json::from_slice(&response.body);
        (response.status, json.unwrap_or_else(|_| panic!("{target}: {}", response.text())))
    }

    /// Sends a POST with this JSON that must be obeyed.
    #[track_caller]
    pub fn post(&self, target: &str, body: &str) -> Value {
        let (status, json) = self.order("POST", target, body);
        assert!((200..300).contains(&status), "{target}: {status} {json}");
        json
    }

    /// A backend of pool `pool`.
    #[track_caller]
    pub fn backend(&self, name: &str) -> Value {
        self.get(&format!("/v1/pools/pool/backends/{name}"))
    }
}

//! Many clients at once: everybody gets what is theirs, whatever happens to the others.

use std::thread;

use crate::support::{Backend, Client, Conversation, Proxy, Response};

/// A body of this length that no other request has.
fn body(client: usize, round: usize, length: usize) -> String {
    format!("{client}/{round} ").chars().cycle().take(length).collect()
}

/// Answers with the body that came, in one of several framings, and now and then closes the
/// connection, as backends do.
fn echo(mut conversation: Conversation) {
    while let Some(request) = conversation.request() {
        let body = String::from_utf8(request.body).unwrap();
        let length = body.len();
        match length % 5 {
            0 => return conversation.send(format!("HTTP/1.1 200 OK\r\n\r\n{body}")),
            1 => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                conversation.send(format!("{head}{length:x}\r\n{body}\r\n0\r\n\r\n"));
            }
            2 => {
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
                conversation.send(format!("{head}Content-Length: {length}\r\n\r\n{body}"));
                return;
            }
            _ => conversation.answer(200, &body),
        }
    }
}

#[test]
fn everybody_gets_their_own_answer() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 100;

    let backends = [(); 3].map(|()| Backend::new(echo));
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]], "");
    let address = proxy.address();
    let one = move |client: usize| {
        let mut connection = Client::connect(address);
        for round in 0..ROUNDS {
            let length = 1 + (client * 7919 + round * 104_729) % 70_000;
            let body = body(client, round, length);
            let head = "PUT / HTTP/1.1\r\nHost: a\r\n";
            let response: Response = match round % 3 {
                0 => {
                    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
                    connection.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
                    connection.response()
                }
                _ => {
                    connection.send(format!("{head}Content-Length: {length}\r\n\r\n{body}"));
                    connection.response()
                }
            };
            assert_eq!((response.status, response.is_complete), (200, true), "{client}/{round}");
            assert!(response.text() == body, "{client}/{round} got {:.20}", response.text());
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|client| thread::spawn(move || one(client))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    proxy.wait_until_quiet();
}

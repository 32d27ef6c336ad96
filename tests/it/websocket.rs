//! A WebSocket client and server that are not ours, with the proxy between them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use stickler::balance::{BackendState, DrainPolicy};
use stickler::clock::{self, Stopwatch};
use stickler::server::Shutdown;
use tokio_tungstenite::tungstenite;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message, WebSocket};

use crate::support::{Backend, PATIENCE, Proxy, wait_until};

/// An app that tells who it is, gives back what it gets, and ends when the client does.
fn chat(name: &'static str) -> Backend {
    Backend::new(move |conversation| {
        let stream = conversation.stream.into_inner();
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        socket.send(Message::text(name)).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                socket.send(message).unwrap();
            }
        }
    })
}

fn open(proxy: &Proxy, cookie: Option<&str>) -> (WebSocket<TcpStream>, Response) {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("ws://{}/chat", proxy.address()).parse().unwrap();
    let mut request = tungstenite::ClientRequestBuilder::new(uri);
    if let Some(cookie) = cookie {
        request = request.with_header("Cookie", cookie);
    }
    tungstenite::client(request, stream).unwrap()
}

#[test]
fn messages_pass_and_reconnecting_leads_to_the_same_app() {
    let backends = ["app-0", "app-1", "app-2"].map(chat);
    let settings = "[pools.pool.affinity]\nmode = \"cookie\"";
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]], settings);
    let (mut first, response) = open(&proxy, None);
    let home = first.read().unwrap();
    for message in [Message::text("caf\u{e9}"), Message::binary(vec![0; 1_000_000])] {
        first.send(message.clone()).unwrap();
        assert_eq!(first.read().unwrap(), message);
    }
    first.send(Message::Ping(Bytes::from_static(b"?"))).unwrap();
    assert_eq!(first.read().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    assert_eq!(proxy.in_flight(), 1);

    // The answer that opened the tunnel has bound the session.
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    for open_already in 1..4 {
        let (mut again, _) = open(&proxy, Some(cookie));
        assert_eq!(again.read().unwrap(), home);
        assert_eq!(proxy.in_flight(), open_already + 1);
        std::mem::forget(again); // stays open
    }

    first.close(None).unwrap();
    assert!(matches!(first.read(), Ok(Message::Close(_))));
    assert!(matches!(first.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn a_tunnel_that_ends_is_no_longer_in_flight() {
    let backend = chat("app");
    let proxy = Proxy::before(&[&backend], "");
    let (mut socket, _) = open(&proxy, None);
    socket.read().unwrap();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    proxy.wait_until_quiet();
    assert_eq!(proxy.member("b0").outcomes(), [1, 0, 0]);
}

/// An app that says how its clients have left: by which code, if they said one.
fn guest_book() -> (Backend, mpsc::Receiver<Option<CloseCode>>) {
    let (tell, told) = mpsc::channel();
    let backend = Backend::new(move |conversation| {
        let stream = conversation.stream.into_inner();
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        socket.send(Message::text("welcome")).unwrap();
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => {
                    let _ = tell.send(frame.map(|frame| frame.code));
                    while socket.read().is_ok() {}
                    return;
                }
                Ok(message) if message.is_text() || message.is_binary() => {
                    socket.send(message).unwrap();
                }
                Ok(_) => {}
                Err(_) => {
                    let _ = tell.send(None);
                    return;
                }
            }
        }
    });
    (backend, told)
}

fn drain(proxy: &Proxy, deadline: Duration, per_second: u32) {
    let policy = DrainPolicy {
        deadline: Some(deadline),
        moves_per_second: NonZeroU32::new(per_second),
        ..DrainPolicy::default()
    };
    let id = proxy.member("b0").id();
    proxy.pool().drain(id, policy, true, clock::now()).unwrap();
}

/// So many clients that talk until they are told to come again later.
fn talkers(proxy: &Proxy, count: usize) -> Vec<WebSocket<TcpStream>> {
    let mut sockets: Vec<_> = (0..count).map(|_| open(proxy, None).0).collect();
    sockets.iter_mut().for_each(|socket| assert!(socket.read().unwrap().is_text()));
    assert_eq!(proxy.member("b0").tunnels() as usize, count);
    sockets
}

/// When each of them hears a Close with 1012, in order. Until then it is as good as ever.
fn told_to_come_again(sockets: Vec<WebSocket<TcpStream>>, begun: Stopwatch) -> Vec<Duration> {
    let talk = |mut socket: WebSocket<TcpStream>| {
        thread::spawn(move || {
            socket.send(Message::text("still here?")).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("still here?"));
            let Message::Close(Some(frame)) = socket.read().unwrap() else {
                panic!("not told why");
            };
            let at = begun.elapsed();
            assert_eq!((frame.code, &*frame.reason), (CloseCode::Restart, "service restart"));
            while let Ok(message) = socket.read() {
                assert!(message.is_close());
            }
            at
        })
    };
    let ends: Vec<_> = sockets.into_iter().map(talk).collect();
    let mut ends: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    ends.sort();
    ends
}

/// A drain of a backend with so many open WebSockets. Each end hears 1012, at the pace of the
/// policy, and nobody before the deadline.
fn drain_with_open_sockets(count: usize, deadline: Duration, per_second: u32) {
    let (backend, told) = guest_book();
    let proxy = Proxy::before(&[&backend], "");
    let sockets = talkers(&proxy, count);
    let begun = Stopwatch::start();
    drain(&proxy, deadline, per_second);
    let ends = told_to_come_again(sockets, begun);
    let (first, last) = (ends[0], ends[count - 1]);
    println!(
        "{count} open WebSockets, deadline {deadline:?}, {per_second} a second: each was told 1012, \
         the first after {first:.2?}, the last after {last:.2?}"
    );
    assert!(first >= deadline, "{first:?} is before its time");
    // Half a second's worth may go at once.
    let pace = Duration::from_secs_f64(count as f64 / f64::from(per_second) - 0.5);
    assert!(last + Duration::from_millis(500) >= deadline + pace, "not paced: {ends:?}");
    let codes: Vec<_> = (0..count).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(codes, vec![Some(CloseCode::Restart); count], "the app hears it as well");
    wait_until("it is drained", || proxy.member("b0").state() == BackendState::Drained);
    let report = proxy.pool().drain_progress(proxy.member("b0").id(), clock::now()).unwrap();
    assert_eq!(report.tunnels_closed, count as u64);
    assert_eq!((report.tunnels, report.in_flight), (0, 0));
}

#[test]
fn after_a_drains_deadline_each_end_hears_1012_at_its_pace_and_nobody_before_its_time() {
    drain_with_open_sockets(6, Duration::from_millis(1_500), 4);
}

#[test]
#[ignore = "many threads: benches/deploy/run"]
fn two_hundred_open_sockets_are_closed_in_peace() {
    drain_with_open_sockets(200, Duration::from_secs(3), 50);
}

#[test]
fn when_the_proxy_stops_tunnels_are_told_to_come_again_a_few_at_a_time() {
    const SHUTDOWN: &str = "[server]\nworkers = 2\nshutdown_timeout = \"15s\"";
    let (backend, told) = guest_book();
    let proxy = Proxy::configured(SHUTDOWN, &[&backend], "");
    let sockets = talkers(&proxy, 30);
    let heard = || proxy.scrape().sum("stickler_backend_received_bytes_total", &[]);
    let (begun, before) = (Stopwatch::start(), heard());
    let clients = thread::spawn(move || told_to_come_again(sockets, begun));
    let echoes = (30 * (2 + "still here?".len())) as f64;
    wait_until("everybody has talked", || heard() >= before + echoes);
    assert_eq!(proxy.shut_down(), Shutdown::Complete);
    let took = begun.elapsed();
    let ends = clients.join().unwrap();
    // One every 20 ms: so few need not wait for half of the time that there is.
    assert!(ends[29] - ends[0] >= Duration::from_millis(300), "all at once: {ends:?}");
    assert!(took < Duration::from_secs(7), "{took:?}");
    let codes: Vec<_> = (0..30).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(codes, vec![Some(CloseCode::Restart); 30]);
}

#[test]
fn a_frame_that_is_under_way_comes_to_its_end_first() {
    let (backend, told) = guest_book();
    let proxy = Proxy::before(&[&backend], "");
    let (mut socket, _) = open(&proxy, None);
    assert!(socket.read().unwrap().is_text());
    // A masked binary frame of 5,000 bytes, and only the beginning of it for now.
    let mut frame = vec![0x82, 0x80 | 126, 0x13, 0x88, 0, 0, 0, 0];
    frame.extend((0..5_000).map(|n| n as u8));
    let stream = socket.get_mut();
    stream.write_all(&frame[..2_000]).unwrap();
    drain(&proxy, Duration::ZERO, 1_000);
    // The other direction is between two frames, and so it hears at once.
    let mut close = [0; 19];
    stream.read_exact(&mut close).unwrap();
    assert_eq!(&close, b"\x88\x11\x03\xf4service restart");
    stream.write_all(&frame[2_000..]).unwrap();
    stream.write_all(b"\x88\x82\0\0\0\0\x03\xf4").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(CloseCode::Restart));
    assert_eq!(stream.read(&mut close).unwrap(), 0, "and that is the end");
    proxy.wait_until_quiet();
}

#[test]
fn who_does_not_answer_a_close_is_cut_after_a_moment() {
    let (backend, _told) = guest_book();
    let proxy = Proxy::before(&[&backend], "");
    let (mut socket, _) = open(&proxy, None);
    assert!(socket.read().unwrap().is_text());
    assert_eq!(proxy.pool().close_tunnels(7), 1, "as when the proxy stops");
    let begun = Stopwatch::start();
    // It neither reads nor writes.
    proxy.wait_until_quiet();
    assert!(begun.elapsed() > Duration::from_secs(2));
    assert_eq!(proxy.pool().close_tunnels(7), 0);
}

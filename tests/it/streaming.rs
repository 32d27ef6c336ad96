//! Bodies pass as they come: at once, and no faster than the other side takes them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use stickler::clock::Stopwatch;

use crate::support::{Backend, Client, Conversation, Gate, PATIENCE, Proxy, wait_until};

/// So many exchanges of small pieces would take five times `PROMPTLY` if each of them waited for
/// a delayed acknowledgement (40 ms).
const ROUNDS: usize = 500;
const PROMPTLY: Duration = Duration::from_secs(4);

/// Sends more than any buffer holds, until nobody has taken anything for a while. Gives how much
/// was taken.
fn fill(stream: &mut std::net::TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = [b'x'; 64 * 1024];
    let mut taken = 0;
    while taken < ENDLESS {
        match stream.write(&piece) {
            Ok(length) => taken += length,
            Err(_) => break,
        }
    }
    taken
}

/// Far more than the kernel's buffers and ours together.
const ENDLESS: usize = 256 * 1024 * 1024;

#[test]
fn server_sent_events_leave_at_once() {
    let (backend, seen) = Backend::streaming_events(ROUNDS);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let since = Stopwatch::start();
    for _ in 0..ROUNDS {
        assert_eq!(client.bytes(14), b"9\r\ndata: x\n\n\r\n");
        seen.send(()).unwrap();
    }
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
}

/// Answers with the head of a chunked response before the request has ended, and gives back each
/// chunk as it comes.
fn echo_chunks(mut conversation: Conversation) {
    conversation.head().unwrap();
    conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut chunk = [0; 6];
    while conversation.stream.read_exact(&mut chunk[..5]).is_ok() {
        conversation.send(&chunk[..5]);
        if &chunk[..5] == b"0\r\n\r\n" {
            return;
        }
        conversation.stream.read_exact(&mut chunk[5..]).unwrap();
        conversation.send(&chunk[5..]);
    }
}

#[test]
fn small_chunks_leave_at_once_in_both_directions() {
    let backend = Backend::new(echo_chunks);
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    let since = Stopwatch::start();
    for _ in 0..ROUNDS {
        assert_eq!(client.send("1\r\nx\r\n").bytes(6), b"1\r\nx\r\n");
    }
    assert_eq!(client.send("0\r\n\r\n").bytes(5), b"0\r\n\r\n");
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    proxy.wait_until_quiet();
}

#[test]
fn a_declared_length_streams_in_small_pieces_too() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        let mut byte = [0];
        for _ in 0..100_000 {
            conversation.stream.read_exact(&mut byte).unwrap();
            conversation.send(byte);
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.head();
    for _ in 0..ROUNDS {
        assert_eq!(client.send("x").bytes(1), b"x");
    }
    client.send("x".repeat(100_000 - ROUNDS));
    client.bytes(100_000 - ROUNDS);
    proxy.wait_until_quiet();
}

#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    let (filled, was_taken) = mpsc::channel();
    let backend = Backend::new(move |mut conversation| {
        conversation.request().unwrap();
        conversation.send("HTTP/1.1 200 OK\r\n\r\n");
        filled.send(fill(conversation.stream.get_mut())).unwrap();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let taken = was_taken.recv_timeout(PATIENCE).unwrap();
    assert!(taken < ENDLESS / 4, "{taken} bytes were hoarded");
    let response = client.response();
    assert!(response.is_complete && response.body.len() >= taken, "all that was taken arrives");
}

#[test]
fn a_backend_that_does_not_read_stops_its_client() {
    let (gate, received) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (may_read, counter) = (gate.clone(), received.clone());
    let backend = Backend::new(move |mut conversation| {
        conversation.head().unwrap();
        may_read.wait();
        let mut piece = [0; 64 * 1024];
        while let Ok(length @ 1..) = conversation.stream.read(&mut piece) {
            counter.fetch_add(length, Ordering::SeqCst);
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {ENDLESS}\r\n\r\n"));
    let taken = fill(client.stream.get_mut());
    assert!(taken < ENDLESS / 4, "{taken} bytes were hoarded");
    gate.open();
    wait_until("all that was taken arrives", || received.load(Ordering::SeqCst) == taken);
}

//! A stream of requests while one of the backends is restarted again and again (invariant 1).

use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Client, Proxy, apps, pool, wait_until};

/// One life of an app server on a Unix socket, which ends as gracefully as can be: whatever has
/// reached it is answered, and what crosses with its good-bye is remembered as read in vain.
///
/// A Unix socket, because there it can be done: once the path is gone nobody can connect, and who
/// has connected can still be accepted. Closing a TCP listener resets whoever is in its queue.
struct Life {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    acceptor: JoinHandle<Vec<Arc<Connection>>>,
}

struct Connection {
    stream: UnixStream,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answered: usize,
    has_said_goodbye: bool,
}

/// What becomes of the requests that it reads, over all its lives.
#[derive(Default)]
struct Record {
    answered: AtomicUsize,
    /// The ids of those that were read and not answered.
    in_vain: Mutex<HashSet<String>>,
}

impl Life {
    fn begin(path: &Path, record: &Arc<Record>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, record) = (is_over.clone(), record.clone());
        let acceptor = thread::spawn(move || {
            let mut connections = Vec::new();
            loop {
                // Looked at first: whoever came before the end is accepted.
                let is_last_look = over.load(Ordering::SeqCst);
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let connection = Arc::new(Connection { stream, state: Mutex::default() });
                        connections.push(connection.clone());
                        let (over, record) = (over.clone(), record.clone());
                        thread::spawn(move || connection.serve(&over, &record));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock && is_last_look => {
                        return connections;
                    }
                    Err(_) => thread::park_timeout(Duration::from_millis(1)),
                }
            }
        });
        Life { path: path.to_owned(), is_over, acceptor }
    }

    fn end(self) {
        std::fs::remove_file(&self.path).unwrap();
        self.is_over.store(true, Ordering::SeqCst);
        for connection in self.acceptor.join().unwrap() {
            let mut state = connection.state.lock().unwrap();
            // Whoever has just come will be answered once.
            if state.answered > 0 {
                connection.say_goodbye(&mut state);
            }
        }
    }
}

impl Connection {
    fn serve(&self, is_over: &AtomicBool, record: &Record) {
        let mut reader = BufReader::new(&self.stream);
        while let Some(id) = request(&mut reader) {
            let mut state = self.state.lock().unwrap();
            if state.has_said_goodbye {
                record.in_vain.lock().unwrap().insert(id);
                continue;
            }
            let length = id.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{id}");
            let _ = (&self.stream).write_all(answer.as_bytes());
            state.answered += 1;
            record.answered.fetch_add(1, Ordering::SeqCst);
            if is_over.load(Ordering::SeqCst) {
                self.say_goodbye(&mut state);
            }
        }
    }

    fn say_goodbye(&self, state: &mut State) {
        state.has_said_goodbye = true;
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Reads a request, and gives its id.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let field = |name| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if let Some(length) = field("content-length:") {
        reader.read_exact(&mut vec![0; length.parse().ok()?]).ok()?;
    }
    field("x-id:").map(str::to_owned)
}

/// What a client sends, and how it went.
struct Exchange {
    is_post: bool,
    id: String,
    status: u16,
}

/// A client that takes turns with GET and POST until it is told to stop.
fn stream(
    address: SocketAddr,
    client: usize,
    is_done: &AtomicBool,
    sent: &AtomicUsize,
) -> Vec<Exchange> {
    let mut connection = Client::connect(address);
    let mut exchanges = Vec::new();
    while !is_done.load(Ordering::SeqCst) {
        let id = format!("{client}-{}", exchanges.len());
        let is_post = exchanges.len() % 2 == 1;
        connection.send(match is_post {
            true => {
                format!("POST / HTTP/1.1\r\nHost: a\r\nX-Id: {id}\r\nContent-Length: 4\r\n\r\nbody")
            }
            false => format!("GET / HTTP/1.1\r\nHost: a\r\nX-Id: {id}\r\n\r\n"),
        });
        let status = connection.response().status;
        exchanges.push(Exchange { is_post, id, status });
        sent.fetch_add(1, Ordering::SeqCst);
    }
    exchanges
}

#[test]
fn what_was_never_read_is_answered_by_another_backend() {
    const LIVES: usize = 50;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let record = Arc::new(Record::default());
    let [steady] = apps();
    let addresses = [format!("unix:{}", path.display()), steady.address.to_string()];
    let proxy = Proxy::with(&pool(&addresses, "balance = \"round_robin\"\neject = false\n"));
    let (address, is_done, sent) = (proxy.address(), AtomicBool::new(false), AtomicUsize::new(0));

    let exchanges: Vec<Exchange> = thread::scope(|scope| {
        let client = |i| {
            let (is_done, sent) = (&is_done, &sent);
            scope.spawn(move || stream(address, i, is_done, sent))
        };
        let clients: Vec<_> = (0..4).map(client).collect();
        let wait_for_more = |counter: &AtomicUsize| {
            let enough = counter.load(Ordering::SeqCst) + 20;
            wait_until("20 more have passed", || counter.load(Ordering::SeqCst) > enough);
        };
        for _ in 0..LIVES {
            let life = Life::begin(&path, &record);
            wait_for_more(&record.answered);
            life.end();
            wait_for_more(&sent);
        }
        is_done.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });

    let in_vain = record.in_vain.lock().unwrap();
    for Exchange { is_post, id, status } in &exchanges {
        let was_read_in_vain = *is_post && in_vain.contains(id);
        assert!(*status == 200 || was_read_in_vain, "{id}, a POST: {is_post}, got {status}");
    }
    proxy.wait_until_quiet();
}

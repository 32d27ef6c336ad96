use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::{Address, Gate, PATIENCE, reset_at_end, text};

/// A request as a backend got it, byte for byte where it matters.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    /// Names as they came, values without the blanks around them, in order.
    pub fields: Vec<(String, String)>,
    /// Decoded, if it was chunked.
    pub body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub trailers: Vec<String>,
}

impl Request {
    /// The value of the only field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.fields(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The values of all fields of this name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }
}

/// One connection to a backend, in the hands of the test's script.
pub struct Conversation {
    pub stream: BufReader<TcpStream>,
    /// Which connection to this backend it is, from 0 on.
    pub number: usize,
}

impl Conversation {
    /// The next request's head, as text with its empty line; `None` when the proxy closed.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        loop {
            match self.stream.read_until(b'\n', &mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) if head.ends_with(b"\r\n\r\n") => return Some(text(&head)),
                Ok(_) => {}
            }
        }
    }

    /// The next request, body and all; `None` when the proxy closed.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let mut lines = head.split("\r\n");
        let mut start = lines.next()?.splitn(3, ' ');
        let mut next = || start.next().unwrap_or_default().to_owned();
        let (method, target, version) = (next(), next(), next());
        let fields: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let (body, trailers) = (Vec::new(), Vec::new());
        let mut request = Request { method, target, version, fields, body, trailers };
        if let Some(length) = request.field("content-length") {
            request.body = vec![0; length.parse().ok()?];
            self.stream.read_exact(&mut request.body).ok()?;
        } else if request.field("transfer-encoding").is_some() {
            self.chunks(&mut request)?;
        }
        Some(request)
    }

    fn chunks(&mut self, request: &mut Request) -> Option<()> {
        loop {
            let size = usize::from_str_radix(self.line()?.trim_end(), 16).ok()?;
            if size == 0 {
                break;
            }
            let start = request.body.len();
            request.body.resize(start + size + 2, 0);
            self.stream.read_exact(&mut request.body[start..]).ok()?;
            request.body.truncate(start + size);
        }
        loop {
            match self.line()?.trim_end() {
                "" => return Some(()),
                trailer => request.trailers.push(trailer.to_owned()),
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|&length| length > 0).map(|_| line)
    }

    /// Sends exactly this. A proxy that has gone is no error: the test sees it elsewhere.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Answers with this status and body, and a length.
    pub fn answer(&mut self, status: u16, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"));
    }

    /// Waits until the proxy closes its side (or resets the connection).
    pub fn wait_for_close(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Ends the connection with a reset, in the middle of whatever is going on.
    pub fn reset(self) {
        reset_at_end(self.stream.get_ref());
    }
}

/// An app server that follows a script: a function that is called, on a thread of its own, for
/// every connection.
pub struct Backend {
    pub address: SocketAddr,
    /// Stays ours when it has stopped.
    kept: Address,
    stopped: Arc<AtomicBool>,
    /// Every request that [`Backend::answering`] has seen.
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    /// Those of [`Backend::answering`], to be cut when it dies.
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Backend {
    /// A backend that does this with every connection.
    pub fn new(script: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        Backend::at("127.0.0.1:0", script)
    }

    /// The same at a given address, for a backend that comes back.
    pub fn at(address: &str, script: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        let kept = Address::at(address);
        let (listener, address) = (kept.listen(), kept.address);
        let stopped = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let (is_stopped, counter) = (stopped.clone(), connections.clone());
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return; // and with it the listener
                }
                let Ok(stream) = stream else { continue };
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                let conversation = Conversation { stream: BufReader::new(stream), number };
                thread::spawn(move || script(conversation));
            }
        });
        let (requests, streams) = (Arc::default(), Arc::default());
        Backend { address, kept, stopped, requests, connections, streams }
    }

    /// A backend that streams so many server-sent events to whoever asks. It sends the next one when
    /// it is told that the one before has been seen.
    pub fn streaming_events(count: usize) -> (Self, mpsc::Sender<()>) {
        let (seen, is_seen) = mpsc::channel::<()>();
        let is_seen = Mutex::new(is_seen);
        let backend = Backend::new(move |mut conversation| {
            conversation.request().unwrap();
            conversation.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for _ in 0..count {
                conversation.send("9\r\ndata: x\n\n\r\n");
                is_seen.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            conversation.send("0\r\n\r\n");
        });
        (backend, seen)
    }

    /// A backend that answers a request with this, which is not all, and waits for the end of the
    /// connection. The gate opens when it has answered, and the receiver hears of the end.
    pub fn left_alone_after(answer: &'static str) -> (Self, Gate, mpsc::Receiver<()>) {
        let (ended, has_ended) = mpsc::channel();
        let begun = Gate::new();
        let has_begun = begun.clone();
        let backend = Backend::new(move |mut conversation| {
            conversation.head().unwrap();
            conversation.send(answer);
            has_begun.open();
            conversation.wait_for_close();
            ended.send(()).unwrap();
        });
        (backend, begun, has_ended)
    }

    /// A backend that answers every request with what `answer` makes of it: a whole response.
    pub fn answering(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        Backend::answering_at("127.0.0.1:0", answer)
    }

    /// The same at a given address, for a backend that comes back.
    pub fn answering_at(
        address: &str,
        answer: impl Fn(&Request) -> String + Send + Sync + 'static,
    ) -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (seen, open) = (requests.clone(), streams.clone());
        let mut backend = Backend::at(address, move |mut conversation| {
            open.lock().unwrap().push(conversation.stream.get_ref().try_clone().unwrap());
            while let Some(request) = conversation.request() {
                let response = answer(&request);
                seen.lock().unwrap().push(request);
                conversation.send(response);
            }
            // Whoever would cut it still holds it, so that dropping it does not end it.
            let _ = conversation.stream.get_ref().shutdown(Shutdown::Both);
        });
        (backend.requests, backend.streams) = (requests, streams);
        backend
    }

    /// A backend that answers every request with 200 and its name, and remembers the requests.
    pub fn named(name: &str) -> Self {
        let (name, length) = (name.to_owned(), name.len());
        Backend::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}")
        })
    }

    /// The requests seen so far, of a backend made by [`Backend::answering`].
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The last of them.
    #[track_caller]
    pub fn last_request(&self) -> Request {
        self.requests().pop().expect("the backend has seen no request")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Stops listening and ends all connections, as when a process dies. Nobody else gets the
    /// address. Only for a backend made by [`Backend::answering`].
    pub fn die(&self) {
        self.stop();
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops listening. Open connections stay in the hands of their scripts.
    pub fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            let _ = TcpStream::connect(self.address); // wakes the thread, which then ends
            super::wait_until("the backend has stopped listening", || !self.kept.is_listened_at());
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

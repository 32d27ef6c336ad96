use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{PATIENCE, reset_at_end, text};

/// A client that says exactly what it is told.
pub struct Client<S = TcpStream> {
    pub stream: BufReader<S>,
}

/// A response as a client got it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub version: String,
    /// Names as they came, in order.
    pub fields: Vec<(String, String)>,
    /// Decoded, if it was chunked.
    pub body: Vec<u8>,
    pub trailers: Vec<String>,
    /// It ended as its framing says, not with the connection.
    pub is_complete: bool,
}

impl Response {
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

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `name=value` of the cookie that this response sets.
    pub fn cookie(&self) -> Option<String> {
        let set = self.field("set-cookie")?;
        Some(set.split(';').next().unwrap_or_default().to_owned())
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Says that it has nothing more to say.
    pub fn finish(&mut self) -> &mut Self {
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
        self
    }

    /// Leaves with a reset, in the middle of whatever is going on.
    pub fn reset(self) {
        reset_at_end(self.stream.get_ref());
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends exactly this. Whether the proxy still listens shows in its answer.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
        self
    }

    /// Sends every byte in a packet of its own, as far as the kernel lets it.
    pub fn send_in_bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
        self
    }

    /// Sends a GET with these extra lines (each ended by CRLF) and reads the response.
    #[track_caller]
    pub fn get(&mut self, target: &str, lines: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        self.response()
    }

    /// The next response to anything but HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response(false).expect("no whole response head came")
    }

    /// The next response to HEAD.
    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        self.try_response(true).expect("no whole response head came")
    }

    /// The next response; `None` if the connection ends before its head does.
    #[track_caller]
    pub fn try_response(&mut self, to_head: bool) -> Option<Response> {
        let line = self.line()?;
        let mut parts = line.trim_end().splitn(3, ' ');
        let version = parts.next()?.to_owned();
        let status = parts.next()?.parse().ok()?;
        let reason = parts.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut response = Response {
            status,
            reason,
            version,
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            is_complete: true,
        };
        let has_body = !to_head && status >= 200 && status != 204 && status != 304;
        if has_body {
            response.is_complete = self.body(&mut response).is_some();
        }
        Some(response)
    }

    #[track_caller]
    fn body(&mut self, response: &mut Response) -> Option<()> {
        if let Some(length) = response.field("content-length") {
            let length: u64 = length.parse().ok()?;
            let read = self.stream.by_ref().take(length).read_to_end(&mut response.body);
            return (in_time(read)? as u64 == length).then_some(());
        }
        if response.field("transfer-encoding").is_none() {
            return in_time(self.stream.read_to_end(&mut response.body)).map(drop);
        }
        loop {
            let size = usize::from_str_radix(self.line()?.trim_end(), 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            in_time(self.stream.read_exact(&mut chunk))?;
            response.body.extend_from_slice(&chunk[..size]);
        }
        loop {
            match self.line()?.trim_end() {
                "" => return Some(()),
                trailer => response.trailers.push(trailer.to_owned()),
            }
        }
    }

    /// The next response's head, and nothing of its body.
    #[track_caller]
    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &self.line().expect("no whole response head came");
        }
        head
    }

    /// The next line, with its end; `None` at the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        in_time(self.stream.read_until(b'\n', &mut line))?;
        line.ends_with(b"\n").then(|| text(&line))
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// What is left until the connection ends, and whether it ended in good order.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = Vec::new();
        let is_orderly = in_time(self.stream.read_to_end(&mut rest)).is_some();
        (rest, is_orderly)
    }

    /// Does the connection end, with nothing more to read?
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let (rest, _) = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }
}

/// What a read gave, unless the connection was reset. To hear nothing for so long is neither.
#[track_caller]
fn in_time<T>(read: io::Result<T>) -> Option<T> {
    let is_late = matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock);
    assert!(!is_late, "the proxy says nothing and does not end the connection");
    read.ok()
}

/// A GET on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, target: &str, lines: &str) -> Response {
    Client::connect(address).get(target, lines)
}

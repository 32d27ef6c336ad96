//! A request on its way to a backend: the bytes of its head, then its body as it comes.

use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Frame;

use super::{Broken, Upload};
use crate::http::fields::Found;
use crate::http::request_head;
use crate::proxy::upstream::{Failure, Upstream};

/// A request's body, as it goes to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// All of it; empty when there is none.
    Whole(Bytes),
    /// As the client sends it.
    Streamed(Box<Upload>),
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Because of the client.
    Client(Broken),
    /// Because of the backend, which may still answer: some refuse a body by closing.
    Backend(Failure),
}

/// How far a request has been sent.
#[derive(Debug)]
pub(crate) struct Sending {
    head_sent: usize,
    /// The piece of the body that is being written: perhaps a chunk's size, the data, and
    /// perhaps the line end.
    piece: [Bytes; 3],
    is_chunked: bool,
    /// No piece comes after this one.
    is_last: bool,
    /// Everything has been written, or will never be.
    is_done: bool,
    /// It will never be.
    is_cut: bool,
}

impl Sending {
    /// Nothing has been sent yet. `is_chunked`: a streamed body has no declared length.
    pub(crate) fn new(is_chunked: bool) -> Self {
        let piece = Default::default();
        Sending { head_sent: 0, piece, is_chunked, is_last: false, is_done: false, is_cut: false }
    }

    /// Is there nothing left to send?
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Was something given up, so that the backend has half a request?
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Gives up what has not been sent.
    pub(crate) fn stop(&mut self) {
        (self.is_done, self.is_cut) = (true, true);
    }

    /// Sends what can be sent of `head` and `body`. Ready when that is all.
    pub(crate) fn poll(
        &mut self,
        upstream: &mut Upstream,
        head: &[u8],
        body: &mut RequestBody,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        while !self.is_done {
            // What there is of the body goes out together with the head.
            let loaded = self.poll_load(body, cx).map_err(SendError::Client)?;
            ready!(self.poll_write(upstream, head, cx)).map_err(SendError::Backend)?;
            self.is_done = self.is_last;
            ready!(loaded);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body, if the last one has been written.
    fn poll_load(
        &mut self,
        body: &mut RequestBody,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        if !self.is_last && self.piece.iter().all(Bytes::is_empty) {
            match body {
                RequestBody::Whole(bytes) => {
                    self.piece[1] = bytes.clone();
                    self.is_last = true;
                }
                RequestBody::Streamed(upload) => match ready!(upload.poll(cx)) {
                    Some(frame) => self.take(frame?),
                    None => self.end(b"0\r\n\r\n"),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of the head and of the current piece.
    fn poll_write(
        &mut self,
        upstream: &mut Upstream,
        head: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            let rest = &head[self.head_sent..];
            let [size, data, end] = &self.piece;
            if rest.is_empty() && data.is_empty() && size.is_empty() && end.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = if data.is_empty() && size.is_empty() && end.is_empty() {
                ready!(upstream.poll_write(cx, &[IoSlice::new(rest)]))?
            } else {
                let parts = [rest, size, data, end].map(IoSlice::new);
                ready!(upstream.poll_write(cx, &parts))?
            };
            self.advance(rest.len(), written);
        }
    }

    fn advance(&mut self, rest_of_head: usize, mut written: usize) {
        let of_head = rest_of_head.min(written);
        self.head_sent += of_head;
        written -= of_head;
        if written == 0 {
            return; // nearly always: there is no body
        }
        for part in &mut self.piece {
            let of_part = part.len().min(written);
            part.advance(of_part);
            written -= of_part;
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) if self.is_chunked => {
                self.piece =
                    [format!("{:x}\r\n", data.len()).into(), data, Bytes::from_static(b"\r\n")];
            }
            Ok(data) => self.piece[1] = data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.end(&trailer_section(&trailers));
                }
            }
        }
    }

    fn end(&mut self, last_chunk: &[u8]) {
        if self.is_chunked {
            self.piece[0] = Bytes::copy_from_slice(last_chunk);
        }
        self.is_last = true;
    }
}

fn trailer_section(trailers: &HeaderMap) -> Vec<u8> {
    let mut section = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().filter(|(name, _)| Found::may_be_trailer(name.as_str())) {
        request_head::field(&mut section, name.as_str(), value.as_bytes());
    }
    section.extend_from_slice(b"\r\n");
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_framed_and_counted() {
        let mut chunked = Sending::new(true);
        chunked.take(Frame::data(Bytes::from_static(b"hello world!!!!!")));
        assert_eq!(chunked.piece.concat(), b"10\r\nhello world!!!!!\r\n");
        chunked.advance(5, 5 + 6);
        assert_eq!(
            (chunked.head_sent, chunked.piece.concat()),
            (5, b"llo world!!!!!\r\n".to_vec())
        );
        let mut sized = Sending::new(false);
        sized.take(Frame::data(Bytes::from_static(b"abc")));
        assert_eq!(sized.piece.concat(), b"abc");
        let mut map = HeaderMap::new();
        map.insert("x-sum", http::HeaderValue::from_static("1"));
        assert_eq!(trailer_section(&map), b"0\r\nx-sum: 1\r\n\r\n");
    }
}

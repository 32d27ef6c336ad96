//! The client's side of the wire, between the socket and hyper's parser.
//!
//! Everything that a client sends passes the [`Scanner`] first, so that the parser sees one
//! message at a time and only messages that are framed beyond doubt. What belongs to the next
//! message waits here until the parser asks for it: a pipelined request cannot spoil the answer
//! to the one before it, and what follows an `Upgrade` is found untouched.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{Client, Phase};
use super::client_socket::{ClientSocket, Sight};
use super::watch::Side;
use crate::http::fields::Found;
use crate::http::framing::{Scanned, Scanner};

/// Responses of up to so many bytes go out in one piece.
const GATHERED: usize = 2048;

/// A client's socket.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: ClientSocket,
    client: Rc<Client>,
    scanner: Scanner,
    /// Received bytes of the next message. Nearly always empty.
    held: Vec<u8>,
    /// Whole heads that the scanner has let through.
    heads: u64,
    /// Nothing has been written since hyper found its write buffer empty.
    is_flushed: bool,
    /// Everything before the current head had been written when it came: what is written without
    /// the service having been called is hyper's own answer to a head that it cannot parse.
    swallows: bool,
    has_reached_eof: bool,
}

/// What is left of a [`ClientIo`] when HTTP is done with it.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) stream: ClientSocket,
    /// Bytes that were received and belong to no message.
    pub(crate) held: Vec<u8>,
    /// Nothing more is expected of the client: it left, or it sent whole messages only.
    pub(crate) is_clean: bool,
    /// An answer of hyper's to a malformed head was held back; ours must take its place.
    pub(crate) owes_answer: bool,
}

impl ClientIo {
    pub(crate) fn new(stream: ClientSocket, client: Rc<Client>) -> Self {
        let scanner = Scanner::new(client.worker.site().head_limits());
        ClientIo {
            stream,
            client,
            scanner,
            held: Vec::new(),
            heads: 0,
            is_flushed: true,
            swallows: false,
            has_reached_eof: false,
        }
    }

    /// The socket, before anything was read from it.
    pub(crate) fn into_socket(self) -> ClientSocket {
        self.stream
    }

    pub(crate) fn into_remains(self) -> Remains {
        Remains {
            is_clean: self.has_reached_eof || (self.scanner.is_idle() && self.held.is_empty()),
            owes_answer: self.is_unasked_answer(),
            stream: self.stream,
            held: self.held,
        }
    }

    /// Waits for something to read. False if there is an end instead.
    pub(crate) fn poll_has_more(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.stream.poll_has_more(cx)
    }

    /// Is everything that was received answered, and everything that was answered sent?
    fn is_at_rest(&self) -> bool {
        self.is_flushed && self.held.is_empty() && self.scanner.is_at_rest()
    }

    /// Judges what was just read into `buf` from `before` on, and keeps back what belongs to the
    /// next message.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            self.has_reached_eof = true;
            return Ok(());
        }
        let is_in_body = !self.scanner.is_idle() && !self.scanner.is_in_head();
        let scanned = self.scanner.scan(fresh, &mut self.client.fields.borrow_mut());
        match scanned {
            Ok(Scanned { taken, whole_fields }) => {
                if taken < fresh.len() {
                    self.held.extend_from_slice(&fresh[taken..]);
                    buf.set_filled(before + taken);
                }
                if let Some(start) = whole_fields {
                    self.hide_fields(buf, before + start);
                }
                self.note_progress();
                Ok(())
            }
            Err(refusal) => {
                buf.set_filled(before);
                self.client.refuse(refusal, is_in_body);
                Err(io::Error::new(io::ErrorKind::InvalidData, refusal.as_str()))
            }
        }
    }

    /// Leaves of the field lines that stand at `start` only those that hyper needs. It would make a
    /// map of the others, at a few hundred instructions for each, and nobody would look at it: we
    /// have them all. (Of a head that comes in pieces it sees everything.)
    fn hide_fields(&self, buf: &mut ReadBuf<'_>, start: usize) {
        let fields = self.client.fields.borrow();
        let filled = buf.filled_mut();
        let mut end = start;
        for line in fields.ranges_of(Found::PROTOCOL) {
            let length = line.len();
            filled.copy_within(start + line.start..start + line.end, end);
            end += length;
        }
        let rest = start + fields.len();
        let length = filled.len() - (rest - end);
        filled.copy_within(rest.., end);
        buf.set_filled(length);
    }

    fn note_progress(&mut self) {
        let heads = self.scanner.heads();
        if heads > self.heads {
            self.heads = heads;
            self.client.head_arrived(self.scanner.is_about_server());
            self.swallows = self.is_flushed;
        } else if self.scanner.is_in_head() {
            self.client.head_began();
            self.swallows = self.is_flushed;
        } else {
            self.client.wake_up();
        }
    }

    /// Is hyper answering a head, or a part of one, by itself? Then it has not called the service
    /// for it.
    fn is_unasked_answer(&self) -> bool {
        self.swallows && (self.client.exchanges() < self.heads || self.scanner.is_in_head())
    }

    fn note_write(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        match written {
            Poll::Pending => self.client.waits_for_write(),
            Poll::Ready(_) if self.client.is_blocked() => self.client.unblock(),
            Poll::Ready(_) => {}
        }
        if let Poll::Ready(Ok(length)) = written {
            self.client.listener.send(length);
        }
        written
    }

    /// Writes what waits to be written between hyper's messages.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = self.client.outbox.borrow_mut();
        if outbox.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !outbox.is_empty() {
            let written = match Pin::new(&mut self.stream).poll_write(cx, &outbox) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.client.waits_for_write();
                    return Poll::Pending;
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.drain(..written);
            self.client.listener.send(written);
        }
        self.client.watch.clear(Side::ClientWrite);
        cx.waker().wake_by_ref(); // whoever fills it may have stopped because it was full
        Poll::Ready(Ok(()))
    }

    /// Interim responses go out before anything of the final one, and never within something else.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed { self.poll_outbox(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Looks whether the client has left.
    fn look_for_eof(&mut self, cx: &mut Context<'_>) {
        if !self.client.looks_for_eof() {
            return;
        }
        match self.stream.look(cx) {
            Sight::Waiting => {}
            Sight::Gone => {
                self.has_reached_eof = true;
                self.client.leave();
                cx.waker().wake_by_ref();
            }
            Sight::Obscured => self.client.look_again_later(),
        }
    }

    /// Sends what TLS still holds.
    fn poll_flush_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        match flushed {
            Poll::Pending => self.client.waits_for_write(),
            Poll::Ready(_) if self.client.is_blocked() => self.client.unblock(),
            Poll::Ready(_) => {}
        }
        flushed
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.held.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            this.client.listener.receive(buf.filled().len() - before);
            return Poll::Ready(this.judge(buf, before));
        }
        let mut held = std::mem::take(&mut this.held);
        let later = held.split_off(held.len().min(buf.remaining()));
        buf.put_slice(&held);
        let judged = this.judge(buf, before);
        // What was kept back just now came before the rest.
        this.held.extend_from_slice(&later);
        Poll::Ready(judged)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_unasked_answer() {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_unasked_answer() {
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_interim(cx))?;
        let written = match bufs {
            [only] => Pin::new(&mut self.stream).poll_write(cx, only),
            // For few bytes one simple write costs less than a vectored one.
            parts if length <= GATHERED => {
                let mut gathered = self.client.worker.take_head();
                parts.iter().for_each(|part| gathered.extend_from_slice(part));
                let written = Pin::new(&mut self.stream).poll_write(cx, &gathered);
                self.client.worker.give_head(gathered);
                written
            }
            parts => Pin::new(&mut self.stream).poll_write_vectored(cx, parts),
        };
        self.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when its own buffer is empty, on every turn. That makes it the place for
    /// what must go out between its messages, and for a look at the client's side.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_tls() {
            ready!(self.poll_flush_stream(cx))?;
        }
        self.is_flushed = true;
        if self.client.phase() == Phase::Exchange {
            ready!(self.poll_outbox(cx))?;
            self.look_for_eof(cx);
        } else if self.client.is_sleepy() && self.is_at_rest() {
            self.client.doze();
        }
        Poll::Ready(Ok(()))
    }

    /// hyper is done; how the connection ends is decided afterwards, with what is left.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! One direction of a tunnel: bytes from one end to the other, and how they come to an orderly end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::websocket::Frames;

/// Bytes that are under way at once.
const BUFFER: usize = 16 * 1024;

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    buffer: Box<[u8]>,
    /// What of it has been read and not been written.
    full: std::ops::Range<usize>,
    /// Written, and perhaps not on its way.
    needs_flush: bool,
    /// The end that we read from has nothing more to say.
    has_ended: bool,
    /// The end that we write to has been told.
    is_shut: bool,
    /// Where the frames of what was read end, if these are frames.
    frames: Frames,
    farewell: Farewell,
    /// Our Close frame is still to be said.
    may_close: bool,
}

/// How far an orderly end is.
#[derive(Debug, PartialEq, Eq)]
enum Farewell {
    /// The present frame goes on.
    Finishing,
    /// Our Close frame is under way.
    Closing,
    /// The other end of the same connection should answer with its own.
    Listening,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Pipe {
            buffer: vec![0; BUFFER].into(),
            full: 0..0,
            needs_flush: false,
            has_ended: false,
            is_shut: false,
            frames: Frames::default(),
            farewell: Farewell::Finishing,
            may_close: false,
        }
    }

    /// Takes bytes from one end to the other. Ready when the first has ended and the other knows.
    pub(super) fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        are_frames: bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_shut {
            ready!(self.poll_write(cx, to))?;
            if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.is_shut = true;
                break;
            }
            let read = match self.poll_read(cx, from) {
                Poll::Pending => {
                    ready!(self.poll_flush(cx, to))?;
                    return Poll::Pending;
                }
                Poll::Ready(read) => read?,
            };
            if are_frames {
                self.frames.see(&self.buffer[..read]);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Brings the present frame to its end, adds `close`, and waits until the end that we read
    /// from has said Close, too: what it says until then is lost.
    pub(super) fn poll_farewell(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        close: &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            if self.farewell != Farewell::Listening && !self.is_shut {
                ready!(self.poll_write(cx, to))?;
            }
            match self.farewell {
                Farewell::Finishing if self.frames.are_complete() || self.has_ended => {
                    // Into the middle of a frame nothing can be said, and after a Close nothing
                    // may be.
                    self.may_close = self.frames.are_complete() && !self.frames.have_closed();
                    self.farewell = Farewell::Closing;
                }
                Farewell::Finishing => {
                    let read = ready!(self.poll_read(cx, from))?;
                    let end = self.frames.see_frame(&self.buffer[..read]);
                    self.full = 0..end;
                    if self.frames.are_complete() {
                        self.may_close = !self.frames.have_closed();
                        // The rest is lost, and it may be a Close all the same.
                        self.frames.see(&self.buffer[end..read]);
                        self.farewell = Farewell::Closing;
                    }
                }
                Farewell::Closing if std::mem::take(&mut self.may_close) && !self.is_shut => {
                    self.buffer[..close.len()].copy_from_slice(close);
                    self.full = 0..close.len();
                }
                Farewell::Closing => {
                    if !self.is_shut {
                        ready!(self.poll_flush(cx, to))?;
                    }
                    self.farewell = Farewell::Listening;
                }
                Farewell::Listening if self.has_ended || self.frames.have_closed() => {
                    return Poll::Ready(Ok(()));
                }
                Farewell::Listening => {
                    let read = ready!(self.poll_read(cx, from))?;
                    self.frames.see(&self.buffer[..read]);
                    self.full = 0..0;
                }
            }
        }
    }

    /// Reads into the empty buffer. Zero is the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.full = 0..read;
        self.has_ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Ready when the buffer is empty.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.full.is_empty() {
            let written = Pin::new(&mut *to).poll_write(cx, &self.buffer[self.full.clone()]);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.full.start += written;
            self.needs_flush = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::websocket::close_frame;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A frame of so many bytes.
    fn frame(length: u8) -> Vec<u8> {
        [&[0x82, length][..], &vec![7; usize::from(length)]].concat()
    }

    struct Ends {
        pipe: Pipe,
        from: DuplexStream,
        source: DuplexStream,
        to: DuplexStream,
        sink: DuplexStream,
    }

    impl Ends {
        fn new(room: usize) -> Self {
            let (source, from) = duplex(1 << 16);
            let (to, sink) = duplex(room);
            Ends { pipe: Pipe::new(), from, source, to, sink }
        }

        /// Copies what is there.
        async fn copy(&mut self) {
            let Ends { pipe, from, to, .. } = self;
            poll_fn(|cx| {
                assert!(pipe.poll_copy(cx, from, to, true).is_pending());
                Poll::Ready(())
            })
            .await;
        }

        async fn part(&mut self) -> io::Result<()> {
            let Ends { pipe, from, to, .. } = self;
            poll_fn(|cx| pipe.poll_farewell(cx, from, to, &close_frame(None))).await
        }

        async fn rest(mut self) -> Vec<u8> {
            drop(self.to);
            let mut rest = Vec::new();
            self.sink.read_to_end(&mut rest).await.unwrap();
            rest
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    #[test]
    fn bytes_pass_and_so_does_their_end() {
        run(async {
            let mut ends = Ends::new(64);
            let sent: Vec<u8> = (0..50_000).map(|n| n as u8).collect();
            ends.source.write_all(&sent).await.unwrap();
            drop(ends.source);
            let Ends { mut pipe, mut from, mut to, mut sink, .. } = ends;
            let copy = async {
                poll_fn(|cx| pipe.poll_copy(cx, &mut from, &mut to, false)).await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(copy, sink.read_to_end(&mut got));
            read.unwrap();
            assert_eq!(got, sent);
        });
    }

    #[test]
    fn a_close_frame_comes_between_frames_whatever_is_under_way() {
        for sent in 0..frame(50).len() * 2 {
            run(async {
                let mut ends = Ends::new(1 << 16);
                let stream = [frame(50), frame(50), frame(9), close_frame(None)].concat();
                ends.source.write_all(&stream[..sent]).await.unwrap();
                ends.copy().await;
                ends.source.write_all(&stream[sent..]).await.unwrap();
                ends.part().await.unwrap();
                let whole = sent.div_ceil(frame(50).len()) * frame(50).len();
                let expected = [&stream[..whole], &close_frame(None)].concat();
                assert_eq!(ends.rest().await, expected, "{sent} bytes were there");
            });
        }
    }

    #[test]
    fn after_a_close_nothing_is_added() {
        run(async {
            let mut ends = Ends::new(1 << 16);
            ends.source.write_all(&close_frame(None)).await.unwrap();
            ends.copy().await;
            ends.part().await.unwrap();
            assert_eq!(ends.rest().await, close_frame(None));
        });
    }

    #[test]
    fn a_frame_that_breaks_off_is_not_completed_by_ours() {
        run(async {
            let mut ends = Ends::new(1 << 16);
            ends.source.write_all(&frame(50)[..20]).await.unwrap();
            ends.copy().await;
            let (other, _) = duplex(1);
            drop(std::mem::replace(&mut ends.source, other));
            ends.part().await.unwrap();
            assert_eq!(ends.rest().await, frame(50)[..20]);
        });
    }
}

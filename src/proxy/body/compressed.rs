//! A response's body, compressed on its way to the client.
//!
//! Nothing waits for more: when the backend has no more to say for now, what there is goes out, so
//! that an event of a stream of events arrives when it happens. While there is more at hand, it is
//! taken in first, since every break costs compression.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::{Broken, ResponseBody};
use crate::http::compression::Coding;
use crate::proxy::client::Client;

/// Compressed bytes that go out together.
const ENOUGH: usize = 16 * 1024;

/// Bytes that are compressed before anybody else on this thread gets a turn.
const TURN: usize = 128 * 1024;

/// As good as what is in use for what is made on the fly, for little CPU time.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: i32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// Each stream remembers so much of what went before (as a power of two): half a megabyte of it
/// hardly compresses worse than four do, and there may be thousands of streams.
const WINDOW: i32 = 18;

/// A body, compressed.
pub(crate) struct Compressed {
    inner: ResponseBody,
    /// `None` when all has been said.
    encoder: Option<Encoder>,
    trailers: Option<HeaderMap>,
    /// Is there something in the encoder that has not gone out?
    is_pending: bool,
    /// Bytes taken in that have not been accounted for.
    taken: usize,
    client: Rc<Client>,
}

impl Compressed {
    /// Of this body.
    pub(crate) fn new(
        inner: ResponseBody,
        coding: Coding,
        client: &Rc<Client>,
    ) -> io::Result<Self> {
        Ok(Compressed {
            inner,
            encoder: Some(Encoder::new(coding)?),
            trailers: None,
            is_pending: false,
            taken: 0,
            client: client.clone(),
        })
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let before = self.taken;
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|map| Ok(Frame::trailers(map))));
            };
            let done = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Err(broken))) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(broken)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.taken += data.len();
                        self.is_pending = true;
                        encoder.write(&data).and_then(|()| match self.taken - before {
                            0..TURN if encoder.ready() < ENOUGH => Ok(None),
                            _ => {
                                // A poll that gives something is followed by another one.
                                if encoder.ready() == 0 {
                                    encoder.flush()?;
                                }
                                Ok(Some(encoder.take()))
                            }
                        })
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.end().map(Some)
                    }
                },
                Poll::Ready(None) => self.end().map(Some),
                Poll::Pending if self.is_pending => {
                    self.is_pending = false;
                    encoder.flush().map(|()| Some(encoder.take()))
                }
                Poll::Pending => return Poll::Pending,
            };
            match done {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    self.client.record.note_coded(mem::take(&mut self.taken), bytes.len());
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                // An encoder that writes to memory has no reason to fail.
                Err(_) => {
                    self.encoder = None;
                    self.client.break_off();
                    return Poll::Ready(Some(Err(Broken::Backend)));
                }
            }
        }
    }

    /// The last of the data.
    fn end(&mut self) -> io::Result<Bytes> {
        match self.encoder.take() {
            Some(encoder) => Ok(encoder.finish()?.into()),
            None => Ok(Bytes::new()),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Compresses something whole. `None` if it is none the shorter for it.
pub(crate) fn compressed(bytes: &[u8], coding: Coding) -> Option<Bytes> {
    let mut encoder = Encoder::new(coding).ok()?;
    encoder.write(bytes).ok()?;
    let shorter = encoder.finish().ok()?;
    (shorter.len() < bytes.len()).then(|| shorter.into())
}

/// Compresses into memory.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: WINDOW,
                    ..BrotliEncoderParams::default()
                };
                Encoder::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), 4096, &params)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW.unsigned_abs())?;
                Encoder::Zstd(encoder)
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
            Encoder::Brotli(encoder) => encoder.write_all(bytes),
            Encoder::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Gives out all that was taken in.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Brotli(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }

    /// Bytes that can go out.
    fn ready(&self) -> usize {
        match self {
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Brotli(encoder) => encoder.get_ref().len(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    fn take(&mut self) -> Bytes {
        let ready = match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        };
        mem::take(ready).into()
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8], coding: Coding) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
            Coding::Zstd => {
                plain = zstd::stream::decode_all(bytes).unwrap();
                Ok(0)
            }
        }
        .unwrap();
        plain
    }

    #[test]
    fn what_gets_no_shorter_stays_as_it_is() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            assert_eq!(compressed(b"x", coding), None);
            let long = b"abc".repeat(1000);
            let short = compressed(&long, coding).unwrap();
            assert!(short.len() < 100);
            assert_eq!(decoded(&short, coding), long);
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_whenever_it_is_flushed(
            pieces in proptest::collection::vec(("[a-c]{0,300}", any::<bool>()), 0..20),
        ) {
            for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
                let mut encoder = Encoder::new(coding).unwrap();
                let (mut plain, mut out) = (Vec::new(), Vec::new());
                for (piece, flush) in &pieces {
                    encoder.write(piece.as_bytes()).unwrap();
                    plain.extend_from_slice(piece.as_bytes());
                    if *flush {
                        encoder.flush().unwrap();
                        out.extend_from_slice(&encoder.take());
                    }
                }
                out.extend(encoder.finish().unwrap());
                prop_assert_eq!(decoded(&out, coding), plain);
            }
        }
    }
}

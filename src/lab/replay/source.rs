//! Log files as lines: plain, gzip or zstd, one after the other, without ever holding more than a
//! line of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// A longer line is none.
const LONGEST_LINE: usize = 64 * 1024;

/// Bytes that are read at a time.
const BUFFER: usize = 256 * 1024;

/// Lines of a log.
pub struct Lines {
    input: Box<dyn BufRead + Send>,
    is_compressed: bool,
    /// Why there is no more, although the log has not come to its end.
    broken: Option<String>,
    line: Vec<u8>,
    /// Lines that were looked at before their time; `None` is one that was too long.
    ahead: VecDeque<Option<Vec<u8>>>,
}

/// Counts the bytes that are read, for whoever watches.
struct Counted<R> {
    stream: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(to)?;
        self.count.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its text, without its end.
    Text(&'a [u8]),
    /// It was far too long.
    TooLong,
}

/// What was read: a text is in [`Lines::line`].
enum Found {
    Nothing,
    Text,
    TooLong,
}

impl Lines {
    /// Opens a file, or standard input if the path is `-`. Adds to `count` the bytes that are read.
    pub fn open(path: &Path, count: &Arc<AtomicU64>) -> io::Result<Self> {
        let count = count.clone();
        if path.as_os_str() == "-" {
            return Lines::new(Counted { stream: io::stdin(), count });
        }
        Lines::new(Counted { stream: File::open(path)?, count })
    }

    /// The next lines, which are still to come.
    pub fn look_ahead(&mut self, most: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut ahead = VecDeque::new();
        while ahead.len() < most {
            match self.next_line()? {
                None => break,
                Some(Line::TooLong) => ahead.push_back(None),
                Some(Line::Text(text)) => ahead.push_back(Some(text.to_vec())),
            }
        }
        let found = ahead.iter().flatten().cloned().collect();
        self.ahead = ahead;
        Ok(found)
    }

    /// The lines of a stream. Whether it is compressed, its first bytes say.
    pub fn new(stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(BUFFER, stream);
        let head = stream.fill_buf()?;
        let (input, is_compressed): (Box<dyn BufRead + Send>, bool) =
            if head.starts_with(&[0x1f, 0x8b]) {
                let text = MultiGzDecoder::new(stream);
                (Box::new(BufReader::with_capacity(BUFFER, text)), true)
            } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                let text = Frames { rest: Some(Frame::Ahead(stream)) };
                (Box::new(BufReader::with_capacity(BUFFER, text)), true)
            } else {
                (Box::new(stream), false)
            };
        let (line, ahead) = (Vec::new(), VecDeque::new());
        Ok(Lines { input, is_compressed, broken: None, line, ahead })
    }

    /// Why a compressed log breaks off, once all of it has been read that can be.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// The next line. A compressed log that breaks off ends there, see [`Lines::broken`]: what came
    /// before is good.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        if let Some(line) = self.ahead.pop_front() {
            let Some(line) = line else { return Ok(Some(Line::TooLong)) };
            self.line = line;
            return Ok(Some(Line::Text(&self.line)));
        }
        if self.broken.is_some() {
            return Ok(None);
        }
        match self.read_line() {
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Text) => Ok(Some(Line::Text(&self.line))),
            Ok(Found::TooLong) => Ok(Some(Line::TooLong)),
            Err(error) if self.is_compressed => {
                self.broken = Some(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read_line(&mut self) -> io::Result<Found> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LONGEST_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(Found::Nothing);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > LONGEST_LINE {
            self.skip_line()?;
            return Ok(Found::TooLong);
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Found::Text)
    }

    /// Goes on behind the end of the line.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let (length, has_ended) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(length);
            if has_ended {
                return Ok(());
            }
        }
    }
}

/// The frames of a zstd file, one after the other: `zstd --append` and rotated logs that were put
/// together have several.
struct Frames<R: BufRead> {
    /// `None` only while it is exchanged, and after an error.
    rest: Option<Frame<R>>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of them for each file")]
enum Frame<R: BufRead> {
    /// The next frame has not begun.
    Ahead(R),
    /// A frame is being read.
    Inside(StreamingDecoder<R, ruzstd::decoding::FrameDecoder>),
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.rest.take() {
                None => return Ok(0),
                Some(Frame::Ahead(mut input)) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new(input);
                    self.rest = Some(Frame::Inside(decoder.map_err(io::Error::other)?));
                }
                Some(Frame::Inside(mut decoder)) => {
                    let length = decoder.read(to)?;
                    if length > 0 || to.is_empty() {
                        self.rest = Some(Frame::Inside(decoder));
                        return Ok(length);
                    }
                    self.rest = Some(Frame::Ahead(decoder.into_inner()));
                }
            }
        }
    }
}

/// The files in the order of their first lines, by `first`, which says when that was.
pub fn in_order(
    paths: &[PathBuf],
    first: impl Fn(&mut Lines) -> Option<u64>,
) -> io::Result<Vec<PathBuf>> {
    if paths.len() < 2 || paths.iter().any(|path| path.as_os_str() == "-") {
        return Ok(paths.to_vec());
    }
    let mut dated = Vec::with_capacity(paths.len());
    for path in paths {
        dated.push((
            first(&mut Lines::open(path, &Arc::default())?).unwrap_or(u64::MAX),
            path.clone(),
        ));
    }
    dated.sort_by_key(|(time, _)| *time);
    Ok(dated.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Option<String>> {
        let mut lines = Lines::new(io::Cursor::new(bytes.to_vec())).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push(match line {
                Line::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        found
    }

    fn texts(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn lines_end_in_any_way() {
        assert_eq!(all(b"a\r\nb\n\nc"), texts(&["a", "b", "", "c"]));
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_only() {
        for length in [LONGEST_LINE + 1, BUFFER, 3 * BUFFER] {
            let text = format!("a\n{}\nb\n", "x".repeat(length));
            assert_eq!(all(text.as_bytes()), [Some("a".into()), None, Some("b".into())]);
        }
        let just = "x".repeat(LONGEST_LINE);
        assert_eq!(all(format!("{just}\nb").as_bytes()), texts(&[&just, "b"]));
    }

    #[test]
    fn compressed_logs_are_read_as_they_were() {
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |text: &str| {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(text.as_bytes(), level)
        };
        // Several members, several frames.
        assert_eq!(all(&[gzip("a\nb"), gzip("c\n")].concat()), texts(&["a", "bc"]));
        assert_eq!(all(&[zstd("a\nb"), zstd("c\n")].concat()), texts(&["a", "bc"]));
    }

    #[test]
    fn of_a_compressed_log_that_breaks_off_the_beginning_is_good() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        for i in 0..10_000u64 {
            writeln!(encoder, "line {i} {}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
        }
        let whole = encoder.finish().unwrap();
        let mut lines = Lines::new(io::Cursor::new(whole[..whole.len() / 2].to_vec())).unwrap();
        assert_eq!(lines.look_ahead(10).unwrap().len(), 10);
        let mut found = 0u64;
        while let Some(Line::Text(text)) = lines.next_line().unwrap() {
            let expected = format!("line {found} {}", found.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(text, expected.as_bytes(), "no half lines");
            found += 1;
        }
        assert!((3_000..7_000).contains(&found), "{found}");
        assert!(lines.broken().is_some());
        assert_eq!(lines.next_line().unwrap(), None, "it stays so");
        let mut lines = Lines::new(io::Cursor::new(vec![0x28, 0xb5, 0x2f, 0xfd, 1, 2])).unwrap();
        assert_eq!(lines.next_line().unwrap(), None);
        assert!(lines.broken().is_some());
    }

    #[test]
    fn what_is_looked_at_is_there_again() {
        let text = format!("a\n{}\nb\nc\n", "x".repeat(LONGEST_LINE + 1));
        let mut lines = Lines::new(io::Cursor::new(text.into_bytes())).unwrap();
        assert_eq!(lines.look_ahead(3).unwrap(), [b"a", b"b"]);
        assert_eq!(lines.next_line().unwrap(), Some(Line::Text(b"a")));
        assert_eq!(lines.next_line().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next_line().unwrap(), Some(Line::Text(b"b")));
        assert_eq!(lines.next_line().unwrap(), Some(Line::Text(b"c")));
    }
}

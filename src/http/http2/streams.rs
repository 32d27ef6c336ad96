//! Streams that a client has ended, on which nothing more may come (RFC 9113, section 5.1).
//!
//! What is kept are those that it has *not* ended, or has left out, which are few: all the others up
//! to the latest one are. A stream that we have reset is one of them, since there may be more under
//! way, until the client says that it knows. If there are too many, the earliest are forgotten, and
//! with them that any before were ended; what comes on those is left to h2.

use std::collections::VecDeque;

use super::Fault;

/// Streams that were not ended and are remembered, or runs of those that were left out.
const MOST: usize = 1024;

/// Streams that were reset last and are remembered.
const RESETS: usize = 16;

/// Streams that have not been ended, from one to another.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u32,
    last: u32,
}

/// The streams of a client. They have odd numbers, and each a higher one than the one before.
#[derive(Debug)]
pub(super) struct Streams {
    /// The next one that may be opened.
    next: u32,
    /// Those that were not ended, in order.
    unended: VecDeque<Span>,
    /// The last one that is forgotten.
    forgotten: u32,
    /// Those that the client took back last.
    resets: [u32; RESETS],
    next_reset: usize,
}

impl Default for Streams {
    fn default() -> Self {
        let (unended, resets) = (VecDeque::new(), [0; RESETS]);
        Streams { next: 1, unended, forgotten: 0, resets, next_reset: 0 }
    }
}

impl Streams {
    /// The head of a request begins, or its trailers, with which its stream may end. Says whether
    /// they are trailers.
    pub(super) fn head(&mut self, stream: u32, is_end: bool) -> Result<bool, Fault> {
        if stream < self.next {
            if self.is_ended(stream) {
                return Err(Fault::Closed);
            }
            if is_end {
                self.end(stream);
            }
            return Ok(true);
        }
        if stream > self.next {
            self.keep(Span { first: self.next, last: stream - 2 });
        }
        if !is_end {
            self.keep(Span { first: stream, last: stream });
        }
        self.next = stream + 2;
        Ok(false)
    }

    /// Content begins. After a reset some may still come out of a client that is no good, which costs
    /// it no more than that stream: h2 says so.
    pub(super) fn data(&mut self, stream: u32, is_end: bool) -> Result<(), Fault> {
        if self.is_ended(stream) && !self.resets.contains(&stream) {
            return Err(Fault::Closed);
        }
        if is_end {
            self.end(stream);
        }
        Ok(())
    }

    /// The client takes a stream back.
    pub(super) fn reset(&mut self, stream: u32) {
        self.end(stream);
        self.resets[self.next_reset] = stream;
        self.next_reset = (self.next_reset + 1) % RESETS;
    }

    fn is_ended(&self, stream: u32) -> bool {
        let is_known = self.forgotten < stream && stream < self.next && stream % 2 == 1;
        is_known && self.find(stream).is_none()
    }

    /// Where a stream is that has not been ended.
    fn find(&self, stream: u32) -> Option<usize> {
        let at = self.unended.partition_point(|span| span.last < stream);
        self.unended.get(at).is_some_and(|span| span.first <= stream).then_some(at)
    }

    fn end(&mut self, stream: u32) {
        // Of those that were left out together all stay: none can be opened any more.
        if let Some(at) = self.find(stream)
            && self.unended[at].first == self.unended[at].last
        {
            self.unended.remove(at);
        }
    }

    fn keep(&mut self, span: Span) {
        if self.unended.len() == MOST
            && let Some(earliest) = self.unended.pop_front()
        {
            self.forgotten = earliest.last;
        }
        self.unended.push_back(span);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const CLOSED: Result<(), Fault> = Err(Fault::Closed);

    #[test]
    fn streams_are_remembered_however_long_ago_they_were_ended() {
        let mut streams = Streams::default();
        assert_eq!(streams.head(1, true), Ok(false));
        assert_eq!(streams.head(3, false), Ok(false));
        assert_eq!(streams.head(5, false), Ok(false));
        streams.reset(5);
        for i in 3..100_000 {
            assert_eq!(streams.head(2 * i + 1, i % 2 == 0), Ok(false));
            assert_eq!(streams.data(2 * i + 1, true), if i % 2 == 0 { CLOSED } else { Ok(()) });
        }
        assert_eq!(streams.data(1, false), CLOSED);
        assert_eq!(streams.head(1, true), Err(Fault::Closed));
        assert_eq!(streams.head(5, true), Err(Fault::Closed));
        assert_eq!(streams.head(3, true), Ok(true));
        assert_eq!(streams.data(3, false), CLOSED);
        assert!(streams.unended.is_empty() && streams.unended.capacity() < 10);
    }

    #[test]
    fn streams_that_were_left_out_were_not_ended() {
        let mut streams = Streams::default();
        assert_eq!(streams.head(101, true), Ok(false));
        assert_eq!(streams.head(51, true), Ok(true), "h2 says that it cannot be opened");
        assert_eq!(streams.data(51, true), Ok(()));
        assert_eq!(streams.head(101, true), Err(Fault::Closed));
        assert_eq!(streams.data(103, true), Ok(()), "it is idle, which h2 says");
        assert_eq!(streams.head((1 << 31) - 1, true), Ok(false), "the last one of all");
        assert_eq!(streams.data((1 << 31) - 1, true), CLOSED);
        assert_eq!(streams.unended.len(), 2);
    }

    #[test]
    fn too_many_are_forgotten_with_all_before() {
        let mut streams = Streams::default();
        streams.head(1, true).unwrap();
        let last = 2 * MOST as u32 + 1;
        for stream in (3..=last).step_by(2) {
            streams.head(stream, false).unwrap();
        }
        assert_eq!(streams.data(1, false), CLOSED);
        streams.head(last + 2, false).unwrap();
        assert_eq!(streams.unended.len(), MOST);
        for stream in [1, 3] {
            assert_eq!(streams.data(stream, true), Ok(()), "nobody knows");
        }
        assert_eq!(streams.data(5, true), Ok(()));
        assert_eq!(streams.data(5, true), CLOSED);
    }

    proptest! {
        #[test]
        fn they_are_in_one_of_their_states(
            frames in proptest::collection::vec((0..3, 0u32..20, any::<bool>()), 1..100),
        ) {
            let mut streams = Streams::default();
            // Of each that was opened whether it was ended, and how.
            let mut states = HashMap::new();
            let mut latest = 0;
            for (kind, stream, is_end) in frames {
                let stream = 2 * stream + 1;
                let state = states.get(&stream).copied();
                if state.is_none() && (stream < latest || kind == 2) {
                    continue; // it was left out, or is idle
                }
                let ended = if is_end { Some("ended") } else { None };
                match kind {
                    0 => {
                        let expected = match state {
                            Some(Some(_)) => Err(Fault::Closed),
                            _ => Ok(stream <= latest),
                        };
                        prop_assert_eq!(streams.head(stream, is_end), expected);
                        if expected.is_ok() {
                            states.insert(stream, ended);
                        }
                        latest = latest.max(stream);
                    }
                    1 => {
                        let is_closed = state == Some(Some("ended"));
                        let expected = if is_closed { CLOSED } else { Ok(()) };
                        prop_assert_eq!(streams.data(stream, is_end), expected);
                        if state == Some(None) {
                            states.insert(stream, ended);
                        }
                    }
                    _ => {
                        streams.reset(stream);
                        states.insert(stream, Some("reset"));
                    }
                }
            }
        }
    }
}

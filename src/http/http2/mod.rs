//! Do the frames of HTTP/2 that a client sends make sense (RFC 9113)?
//!
//! A [`Judge`] follows the raw bytes before h2 reads them. h2 refuses what makes no sense as well, but
//! nearly always as PROTOCOL_ERROR, and lets some of it pass. So here is what the RFCs have another
//! code for, and what h2 does not see:
//!
//! * frames of a length that theirs cannot be (section 4.2 and 6): FRAME_SIZE_ERROR;
//! * a window that is larger than there are (6.5.2): FLOW_CONTROL_ERROR;
//! * more on a stream whose client has ended it (5.1): STREAM_CLOSED;
//! * field blocks that are none ([`field_block`]): COMPRESSION_ERROR;
//! * pseudo-fields in trailers (8.1), and a connection that does not begin with settings (3.4):
//!   PROTOCOL_ERROR.
//!
//! Whatever is wrong ends the connection, which is allowed where only a stream need end (5.4.1).
//! Payloads are stepped over, but for settings and field blocks. What h2 answers rightly is not
//! looked at again.

mod field_block;
mod huffman;
mod streams;
mod table;

use field_block::FieldBlock;
use streams::Streams;

/// What a connection begins with (RFC 9113, section 3.4); h2 reads it.
const PREFACE_LEN: usize = 24;

const HEAD_LEN: usize = 9;

/// A setting's number and value.
const SETTING_LEN: usize = 6;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

const PRIORITY_LEN: usize = 5;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Why a connection is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin with settings.
    NoSettings,
    /// A pseudo-field among trailers.
    PseudoField,
    /// A window that is larger than there are.
    Window,
    /// More on a stream that its client has ended.
    Closed,
    /// A frame of a length that its kind does not have.
    Size,
    /// A field block that is none.
    Compression,
}

impl Fault {
    /// The error code (RFC 9113, section 7).
    pub const fn code(self) -> u32 {
        match self {
            Fault::NoSettings | Fault::PseudoField => 0x1,
            Fault::Window => 0x3,
            Fault::Closed => 0x5,
            Fault::Size => 0x6,
            Fault::Compression => 0x9,
        }
    }

    /// What is wrong, in words for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::NoSettings => "the connection does not begin with settings",
            Fault::PseudoField => "a pseudo-field is among the trailers",
            Fault::Window => "an initial window is too large",
            Fault::Closed => "there is more on a stream that was ended",
            Fault::Size => "a frame has a length that its kind does not have",
            Fault::Compression => "a field block cannot be read",
        }
    }
}

/// What becomes of the rest of a payload.
#[derive(Clone, Copy, Debug)]
enum Payload {
    /// It is stepped over.
    Opaque,
    /// The length of the padding comes first, then so many bytes of something else, then a piece
    /// of a field block.
    Padded { skip: usize },
    /// So many bytes of something else, and of a piece of a field block; then padding.
    Fragment { skip: usize, length: usize },
    /// Settings, and what there is of the present one.
    Settings { setting: [u8; SETTING_LEN], have: usize },
}

/// What has come on a connection so far.
#[derive(Debug)]
pub struct Judge {
    /// The head of the next frame, as far as it is there.
    head: [u8; HEAD_LEN],
    have: usize,
    /// Bytes of the present payload, or of the preface, that are to come.
    left: usize,
    payload: Payload,
    /// The present frame is the last of its field block.
    ends_block: bool,
    /// The stream whose field block has begun, and not ended; 0 for none.
    in_block: u32,
    block: FieldBlock,
    has_settings: bool,
    streams: Streams,
}

impl Default for Judge {
    fn default() -> Self {
        Judge {
            head: [0; HEAD_LEN],
            have: 0,
            left: PREFACE_LEN,
            payload: Payload::Opaque,
            ends_block: false,
            in_block: 0,
            block: FieldBlock::default(),
            has_settings: false,
            streams: Streams::default(),
        }
    }
}

impl Judge {
    /// Takes in what comes next. If something is wrong, gives how much of it may be let through:
    /// less than the whole frame that is at fault.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), (Fault, usize)> {
        // Where the present frame begins in these bytes.
        let mut begin = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.left > 0 {
                let (now, later) = rest.split_at(self.left.min(rest.len()));
                self.left -= now.len();
                self.see(now).map_err(|fault| (fault, begin))?;
                rest = later;
            } else {
                if self.have == 0 {
                    begin = bytes.len() - rest.len();
                }
                let (now, later) = rest.split_at((HEAD_LEN - self.have).min(rest.len()));
                self.head[self.have..self.have + now.len()].copy_from_slice(now);
                self.have += now.len();
                rest = later;
                if self.have < HEAD_LEN {
                    break;
                }
                self.have = 0;
                self.begin().map_err(|fault| (fault, begin))?;
            }
            if self.left == 0 && self.ends_block {
                self.ends_block = false;
                self.in_block = 0;
                self.block.end().map_err(|fault| (fault, begin))?;
            }
        }
        Ok(())
    }

    /// A frame begins: its head is there.
    fn begin(&mut self) -> Result<(), Fault> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        let has = |flag: u8| flags & flag != 0;
        self.left = length;
        self.payload = Payload::Opaque;
        if !self.has_settings {
            if kind != SETTINGS || has(ACK) {
                return Err(Fault::NoSettings);
            }
            self.has_settings = true;
        }
        // Where this kind may not stand, that is what is wrong, and h2 says so.
        if self.in_block != 0 && (kind, stream) != (CONTINUATION, self.in_block) {
            return Ok(());
        }
        let is_for_stream = stream != 0;
        match kind {
            DATA if is_for_stream => self.begin_data(stream, length, flags)?,
            HEADERS if stream % 2 == 1 => self.begin_head(stream, length, flags)?,
            CONTINUATION if self.in_block != 0 => {
                self.payload = Payload::Fragment { skip: 0, length };
                self.ends_block = has(END_HEADERS);
            }
            RST_STREAM if is_for_stream => {
                fits(length == 4)?;
                self.streams.reset(stream);
            }
            PRIORITY if is_for_stream => fits(length == PRIORITY_LEN)?,
            SETTINGS if !is_for_stream => {
                let is_whole = length.is_multiple_of(SETTING_LEN);
                fits(if has(ACK) { length == 0 } else { is_whole })?;
                self.payload = Payload::Settings { setting: [0; SETTING_LEN], have: 0 };
            }
            PING if !is_for_stream => fits(length == 8)?,
            GOAWAY if !is_for_stream => fits(length >= 8)?,
            WINDOW_UPDATE => fits(length == 4)?,
            _ => {}
        }
        Ok(())
    }

    fn begin_data(&mut self, stream: u32, length: usize, flags: u8) -> Result<(), Fault> {
        self.streams.data(stream, flags & END_STREAM != 0)?;
        fits(flags & PADDED == 0 || length > 0)
    }

    /// A head, or trailers.
    fn begin_head(&mut self, stream: u32, length: usize, flags: u8) -> Result<(), Fault> {
        let is_trailers = self.streams.head(stream, flags & END_STREAM != 0)?;
        let skip = if flags & HAS_PRIORITY != 0 { PRIORITY_LEN } else { 0 };
        let is_padded = flags & PADDED != 0;
        fits(length >= skip + usize::from(is_padded))?;
        self.payload = match is_padded {
            true => Payload::Padded { skip },
            false => Payload::Fragment { skip, length: length - skip },
        };
        self.in_block = stream;
        self.ends_block = flags & END_HEADERS != 0;
        self.block.begin(is_trailers);
        Ok(())
    }

    /// More of the present payload, of which `left` is to come after it.
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        if let Payload::Padded { skip } = self.payload
            && let Some((&padding, rest)) = bytes.split_first()
        {
            let after = rest.len() + self.left;
            self.payload = match after.checked_sub(skip + usize::from(padding)) {
                Some(length) => Payload::Fragment { skip, length },
                None => Payload::Opaque, // more padding than there is: h2 says so
            };
            if matches!(self.payload, Payload::Opaque) {
                self.ends_block = false;
            }
            bytes = rest;
        }
        match &mut self.payload {
            Payload::Opaque | Payload::Padded { .. } => Ok(()),
            Payload::Fragment { skip, length } => {
                let skipped = bytes.len().min(*skip);
                let taken = (bytes.len() - skipped).min(*length);
                *skip -= skipped;
                *length -= taken;
                self.block.read(&bytes[skipped..skipped + taken])
            }
            Payload::Settings { setting, have } => {
                for &byte in bytes {
                    setting[*have] = byte;
                    *have = (*have + 1) % SETTING_LEN;
                    if *have == 0 {
                        check_setting(*setting)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn fits(fits: bool) -> Result<(), Fault> {
    if fits { Ok(()) } else { Err(Fault::Size) }
}

/// h2 checks the others.
fn check_setting([n0, n1, v0, v1, v2, v3]: [u8; SETTING_LEN]) -> Result<(), Fault> {
    let is_window = u16::from_be_bytes([n0, n1]) == INITIAL_WINDOW_SIZE;
    let is_too_large = u32::from_be_bytes([v0, v1, v2, v3]) > LARGEST_WINDOW;
    if is_window && is_too_large { Err(Fault::Window) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

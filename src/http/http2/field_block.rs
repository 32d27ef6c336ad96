//! Is this a field block (RFC 7541)? Followed without being decoded: strings are measured and then
//! forgotten, and the dynamic table has no more than their lengths. So it costs next to nothing
//! beside what h2 does with a block, least of all where fields are named by their numbers.

use std::mem;

use super::Fault;
use super::huffman::Huffman;
use super::table::{self, Name, Table};

/// Bytes of an integer after the first one; more of them are refused, as by h2.
const LONGEST_INTEGER: u32 = 4;

/// A colon, as it is and in the Huffman code, which has seven bits for it.
const COLON: u8 = b':';
const COLON_CODE: u8 = 0b1011_1000;

/// What an integer means.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// A whole field.
    Field,
    /// The name of a field whose value follows.
    Name,
    /// A new size of the dynamic table.
    TableSize,
    /// The length of a string.
    Length { is_value: bool, is_coded: bool },
}

/// A string.
#[derive(Clone, Copy, Debug)]
struct Text {
    is_value: bool,
    is_coded: bool,
    length: u32,
    /// Bytes of it that are to come.
    left: u32,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    /// A field, or a new size of the table.
    #[default]
    Field,
    /// The length of a name, or of a value.
    Name,
    Value,
    /// More of an integer, of which so many bytes have come after the first.
    Integer {
        meaning: Meaning,
        value: u32,
        have: u32,
    },
    /// More of a string.
    Text(Text),
}

/// The field blocks of a connection, one after the other.
#[derive(Debug, Default)]
pub(super) struct FieldBlock {
    next: Next,
    table: Table,
    /// The name of the present field.
    name: Name,
    /// The present string, if it is in the Huffman code.
    code: Huffman,
    /// The present field becomes an entry of the table.
    is_indexed: bool,
    /// There were fields in this block.
    has_fields: bool,
    is_trailers: bool,
}

impl FieldBlock {
    /// A block begins.
    pub(super) fn begin(&mut self, is_trailers: bool) {
        self.has_fields = false;
        self.is_trailers = is_trailers;
    }

    /// The block ends here.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.next {
            Next::Field => Ok(()),
            _ => Err(Fault::Compression),
        }
    }

    /// More of it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            if matches!(self.next, Next::Field) {
                // Most fields are one byte, the number of one that is remembered.
                while let [index @ 0x80..=0xfe, rest @ ..] = bytes {
                    self.check_index(u32::from(index & 0x7f))?;
                    bytes = rest;
                }
            }
            let Some((&byte, mut rest)) = bytes.split_first() else { return Ok(()) };
            match self.next {
                Next::Field => self.representation(byte)?,
                Next::Name | Next::Value => {
                    let is_value = matches!(self.next, Next::Value);
                    let is_coded = byte & 0x80 != 0;
                    self.integer(byte, 7, Meaning::Length { is_value, is_coded })?;
                }
                Next::Integer { meaning, value, have } => {
                    let value = value + (u32::from(byte & 0x7f) << (7 * have));
                    match byte & 0x80 {
                        0 => self.mean(meaning, value)?,
                        _ if have + 1 == LONGEST_INTEGER => return Err(Fault::Compression),
                        _ => self.next = Next::Integer { meaning, value, have: have + 1 },
                    }
                }
                Next::Text(text) => {
                    let (now, later) = bytes.split_at(bytes.len().min(text.left as usize));
                    self.next = self.more(text, now)?;
                    rest = later;
                }
            }
            bytes = rest;
        }
    }

    /// The first byte of a field, or of a new size (section 6).
    fn representation(&mut self, byte: u8) -> Result<(), Fault> {
        let (bits, meaning) = match byte.leading_zeros() {
            0 => (7, Meaning::Field),
            1 => (6, Meaning::Name),
            2 => (5, Meaning::TableSize),
            _ => (4, Meaning::Name),
        };
        self.is_indexed = bits == 6;
        self.integer(byte, bits, meaning)
    }

    /// The first byte of an integer, in its last `bits` (section 5.1).
    fn integer(&mut self, byte: u8, bits: u32, meaning: Meaning) -> Result<(), Fault> {
        let most = (1_u32 << bits) - 1;
        match u32::from(byte) & most {
            value if value < most => self.mean(meaning, value),
            value => {
                self.next = Next::Integer { meaning, value, have: 0 };
                Ok(())
            }
        }
    }

    /// An integer is there.
    fn mean(&mut self, meaning: Meaning, value: u32) -> Result<(), Fault> {
        self.next = match meaning {
            Meaning::Field => {
                self.check_index(value)?;
                Next::Field
            }
            Meaning::Name if value == 0 => {
                self.has_fields = true;
                self.name = Name::default();
                Next::Name
            }
            Meaning::Name => {
                self.has_fields = true;
                self.name = self.table.name(value).ok_or(Fault::Compression)?;
                self.check_pseudo(self.name.is_pseudo)?;
                Next::Value
            }
            Meaning::TableSize if self.has_fields || value > table::LARGEST => {
                return Err(Fault::Compression);
            }
            Meaning::TableSize => {
                self.table.resize(value);
                Next::Field
            }
            Meaning::Length { is_value, is_coded } => {
                let text = Text { is_value, is_coded, length: value, left: value };
                if value == 0 { self.end_of(text)? } else { Next::Text(text) }
            }
        };
        Ok(())
    }

    /// More of a string, and what comes next.
    fn more(&mut self, text: Text, bytes: &[u8]) -> Result<Next, Fault> {
        if !text.is_value && text.left == text.length {
            self.name.is_pseudo = match text.is_coded {
                true => bytes.first().is_some_and(|byte| byte & 0xfe == COLON_CODE),
                false => bytes.starts_with(&[COLON]),
            };
            self.check_pseudo(self.name.is_pseudo)?;
        }
        if text.is_coded {
            self.code.read(bytes)?;
        }
        match text.left - bytes.len() as u32 {
            0 => self.end_of(text),
            left => Ok(Next::Text(Text { left, ..text })),
        }
    }

    /// A string ends, and what comes next.
    fn end_of(&mut self, text: Text) -> Result<Next, Fault> {
        let length = if text.is_coded { mem::take(&mut self.code).end()? } else { text.length };
        if !text.is_value {
            self.name.length = length;
            return Ok(Next::Value);
        }
        if self.is_indexed {
            self.table.insert(self.name, length);
        }
        Ok(Next::Field)
    }

    fn check_index(&mut self, index: u32) -> Result<(), Fault> {
        self.has_fields = true;
        if !self.table.has(index) {
            return Err(Fault::Compression);
        }
        if self.is_trailers {
            self.check_pseudo(self.table.name(index).is_some_and(|name| name.is_pseudo))?;
        }
        Ok(())
    }

    /// Trailers have no pseudo-fields (RFC 9113, section 8.1).
    fn check_pseudo(&self, is_pseudo: bool) -> Result<(), Fault> {
        if is_pseudo && self.is_trailers { Err(Fault::PseudoField) } else { Ok(()) }
    }
}

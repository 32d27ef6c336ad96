//! Is this a field block (RFC 7541)? Followed without being decoded: strings are stepped over, and
//! of the dynamic table only is known how many entries it may have at most. So a wrong Huffman code,
//! and an index that the table could have but has not, are left to h2.

use super::Fault;

/// Entries of the static table (RFC 7541, appendix A).
const STATIC: u32 = 61;

/// Of those the last one that is a pseudo-field.
const LAST_PSEUDO: u32 = 14;

/// The size of the dynamic table that we allow, which is the usual one, since we say nothing else.
const TABLE_SIZE: u32 = 4096;

/// What an entry counts for beside its bytes (section 4.1).
const ENTRY_SIZE: u32 = 32;

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
    Length(Text),
}

/// A string.
#[derive(Clone, Copy, Debug)]
enum Text {
    Name { is_coded: bool },
    Value,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A field, or a new size of the table.
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
    /// The first byte of a name.
    FirstOfName {
        length: u32,
        is_coded: bool,
    },
    /// So many bytes of a string.
    Rest {
        length: u32,
        is_value: bool,
    },
}

/// The field blocks of a connection, one after the other.
#[derive(Debug)]
pub(super) struct FieldBlock {
    next: Next,
    /// Entries that the dynamic table may have by now, and may ever have with its size.
    entries: u32,
    most_entries: u32,
    /// The present field becomes an entry.
    is_indexed: bool,
    /// There were fields in this block.
    has_fields: bool,
    is_trailers: bool,
}

impl Default for FieldBlock {
    fn default() -> Self {
        FieldBlock {
            next: Next::Field,
            entries: 0,
            most_entries: TABLE_SIZE / ENTRY_SIZE,
            is_indexed: false,
            has_fields: false,
            is_trailers: false,
        }
    }
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
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Next::Rest { length, is_value } = self.next {
                let step = bytes.len().min(length as usize);
                bytes = &bytes[step..];
                self.next = self.rest(length - step as u32, is_value);
                continue;
            }
            bytes = rest;
            match self.next {
                Next::Field => self.representation(byte)?,
                Next::Name => {
                    let name = Text::Name { is_coded: byte & 0x80 != 0 };
                    self.integer(byte, 7, Meaning::Length(name))?;
                }
                Next::Value => self.integer(byte, 7, Meaning::Length(Text::Value))?,
                Next::Integer { meaning, value, have } => {
                    let value = value + (u32::from(byte & 0x7f) << (7 * have));
                    match byte & 0x80 {
                        0 => self.mean(meaning, value)?,
                        _ if have + 1 == LONGEST_INTEGER => return Err(Fault::Compression),
                        _ => self.next = Next::Integer { meaning, value, have: have + 1 },
                    }
                }
                Next::FirstOfName { length, is_coded } => {
                    let is_pseudo = match is_coded {
                        true => byte & 0xfe == COLON_CODE,
                        false => byte == COLON,
                    };
                    self.check_pseudo(is_pseudo)?;
                    self.next = self.rest(length - 1, false);
                }
                Next::Rest { .. } => {}
            }
        }
        Ok(())
    }

    /// The first byte of a field, or of a new size (section 6).
    fn representation(&mut self, byte: u8) -> Result<(), Fault> {
        if (0x80..0xff).contains(&byte) {
            return self.check_index(u32::from(byte & 0x7f)); // most fields are one such byte
        }
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
                Next::Name
            }
            Meaning::Name => {
                self.check_index(value)?;
                Next::Value
            }
            Meaning::TableSize if self.has_fields || value > TABLE_SIZE => {
                return Err(Fault::Compression);
            }
            Meaning::TableSize => {
                self.most_entries = value / ENTRY_SIZE;
                self.entries = self.entries.min(self.most_entries);
                Next::Field
            }
            Meaning::Length(Text::Name { is_coded }) if value > 0 && self.is_trailers => {
                Next::FirstOfName { length: value, is_coded }
            }
            Meaning::Length(text) => self.rest(value, matches!(text, Text::Value)),
        };
        Ok(())
    }

    /// What comes next if so much of a string is to come.
    fn rest(&mut self, length: u32, is_value: bool) -> Next {
        match (length, is_value) {
            (0, false) => Next::Value,
            (0, true) => {
                if self.is_indexed {
                    self.entries = (self.entries + 1).min(self.most_entries);
                }
                Next::Field
            }
            _ => Next::Rest { length, is_value },
        }
    }

    fn check_index(&mut self, index: u32) -> Result<(), Fault> {
        self.has_fields = true;
        if index == 0 || index > STATIC + self.entries {
            return Err(Fault::Compression);
        }
        self.check_pseudo(index <= LAST_PSEUDO)
    }

    /// Trailers have no pseudo-fields (RFC 9113, section 8.1).
    fn check_pseudo(&self, is_pseudo: bool) -> Result<(), Fault> {
        if is_pseudo && self.is_trailers { Err(Fault::PseudoField) } else { Ok(()) }
    }
}

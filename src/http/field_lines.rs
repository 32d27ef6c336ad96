//! The field lines of a request, as its client wrote them.
//!
//! A proxy reads few fields of a request and passes the others on. So they are not taken apart and
//! put together again: they stay one text, with a note for every line where it stands and whether
//! it concerns a proxy. What passes goes on byte for byte, runs of lines at once; only blanks that
//! two parsers might read differently do not.

use std::ops::Range;

use http::HeaderMap;

use super::fields::Found;
use super::framing::{Refusal, chunk};

const END_OF_LINE: &[u8] = b"\r\n";

/// The field lines of a request head.
#[derive(Debug, Default)]
pub struct FieldLines {
    /// The lines, each with its end.
    text: Vec<u8>,
    lines: Vec<Line>,
    /// The flags of all of them.
    found: Found,
}

/// Where a line stands in the text.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    /// Where the name ends.
    colon: usize,
    /// Where the next line starts.
    end: usize,
    flag: Found,
}

/// One of the lines.
#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    text: &'a [u8],
    line: &'a Line,
}

impl<'a> FieldLine<'a> {
    /// What kind of field it is.
    pub fn flag(self) -> Found {
        self.line.flag
    }

    /// The name.
    pub fn name(self) -> &'a [u8] {
        &self.text[self.line.start..self.line.colon]
    }

    /// The value, without the blanks around it.
    pub fn value(self) -> &'a [u8] {
        self.text[self.line.colon + 1..self.line.end - END_OF_LINE.len()].trim_ascii()
    }

    /// Is this its name, however it is written? With underscores it is the same to some app
    /// servers.
    pub fn is_called(self, name: &str) -> bool {
        let is_same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
        self.name().len() == name.len() && self.name().iter().zip(name.bytes()).all(is_same)
    }

    fn is_of(self, name: &str) -> bool {
        !self.flag().has(Found::REPLACED) && self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as it is.
    Passes,
    /// It ends here.
    Ends,
    /// Something else takes its place.
    Changes,
}

impl FieldLines {
    /// Forgets all of them, and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.found = Found::default();
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes for which there is room.
    pub fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of all of them.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// What kinds of fields there are.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Takes one more line, given without its end. Gives its flag and its value.
    pub(super) fn push<'a>(&mut self, line: &'a [u8]) -> Result<(Found, &'a [u8]), Refusal> {
        let noted = self.note(line, 0)?;
        let start = self.text.len();
        self.text.extend_from_slice(line);
        self.text.extend_from_slice(END_OF_LINE);
        self.check(start, 1)?;
        Ok(noted)
    }

    /// Notes a line, given without its end, whose text will be [added](Self::add_text) together
    /// with that of others. `before`: bytes of those before it. Gives its flag and its value.
    pub(super) fn note<'a>(
        &mut self,
        line: &'a [u8],
        before: usize,
    ) -> Result<(Found, &'a [u8]), Refusal> {
        let stop = line.iter().position(|&b| !IS_PLAIN[usize::from(b)]).unwrap_or(line.len());
        let (length, mut flag) = match line.get(stop) {
            Some(b':') if stop > 0 => (stop, Found::of_bytes(&line[..stop])),
            _ => unusual_name(line)?,
        };
        let value = &line[length + 1..];
        if !is_tidy(value) {
            flag = flag.or(Found::UNTIDY);
        }
        let start = self.text.len() + before;
        let end = start + line.len() + END_OF_LINE.len();
        self.lines.push(Line { start, colon: start + length, end, flag });
        self.found = self.found.or(flag);
        Ok((flag, value))
    }

    /// Takes the text of so many lines, which were noted, and all of which end in CRLF.
    pub(super) fn add_text(&mut self, text: &[u8], lines: usize) -> Result<(), Refusal> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.check(start, lines)
    }

    /// There are no control bytes but tabs, and those that end these lines (RFC 9110, section 5.5).
    fn check(&self, start: usize, lines: usize) -> Result<(), Refusal> {
        /// Bytes that are counted at once, by vector instructions. A `u8` can count them.
        const PART: usize = 240;

        let is_control = |b: u8| (b < b' ') & (b != b'\t') | (b == 0x7f);
        let count = |part: &[u8]| part.iter().map(|&b| u8::from(is_control(b))).sum::<u8>();
        let controls: usize = self.text[start..].chunks(PART).map(|p| usize::from(count(p))).sum();
        if controls == lines * END_OF_LINE.len() { Ok(()) } else { Err(Refusal::Malformed) }
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The values of all fields of this name.
    pub fn get_all(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.iter().filter(move |line| line.is_of(name)).map(FieldLine::value)
    }

    /// The values of all fields of this kind.
    pub fn of_kind(&self, kind: Found) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.iter().filter(move |line| line.flag().has(kind)).map(FieldLine::value)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = FieldLine<'_>> {
        self.lines.iter().map(|line| FieldLine { text: &self.text, line })
    }

    /// Where the lines of these kinds stand.
    pub fn ranges_of(&self, kinds: Found) -> impl Iterator<Item = Range<usize>> {
        let lines = self.lines.iter().filter(move |line| line.flag.has(kinds));
        lines.map(|line| line.start..line.end)
    }

    /// Adds a field, of a name and a value that may be one's.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let mut line = Vec::with_capacity(name.len() + 2 + value.len());
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b": ");
        line.extend_from_slice(value);
        self.push(&line).map(drop)
    }

    /// Adds what an HTTP/2 head has: all of it has been checked, and its types say so.
    pub fn add_all(&mut self, headers: &HeaderMap) {
        self.lines.reserve(headers.len());
        for (name, value) in headers {
            let name = name.as_str();
            let mut flag = Found::of_bytes(name.as_bytes());
            if has_underscore(name.as_bytes()) {
                flag = flag.or(Found::UNDERSCORE);
            }
            if !has_tidy_ends(value.as_bytes()) {
                flag = flag.or(Found::UNTIDY);
            }
            self.add_sound(name, value.as_bytes(), flag);
        }
    }

    /// Adds a field that needs no check, with its flag.
    pub fn add_sound(&mut self, name: &str, value: &[u8], flag: Found) {
        let start = self.text.len();
        super::request_head::field(&mut self.text, name, value);
        self.lines.push(Line { start, colon: start + name.len(), end: self.text.len(), flag });
        self.found = self.found.or(flag);
    }

    /// Removes all fields of a name, however it is written: with underscores it is the same to some
    /// app servers.
    pub fn remove(&mut self, name: &str) {
        for line in &mut self.lines {
            if (FieldLine { text: &self.text, line }).is_called(name) {
                line.flag = Found::REPLACED;
            }
        }
    }

    /// Puts a field in the place of all those of its name.
    pub fn replace(&mut self, name: &str, value: &[u8]) {
        for line in &mut self.lines {
            if (FieldLine { text: &self.text, line }).is_of(name) {
                line.flag = Found::REPLACED;
            }
        }
        self.add_sound(name, value, Found::of_bytes(name.as_bytes()));
    }

    /// Writes what passes. `fate` says of each line what becomes of it; `change` writes what takes
    /// the place of one.
    pub fn write(
        &self,
        to: &mut Vec<u8>,
        fate: impl Fn(FieldLine<'_>) -> Fate,
        mut change: impl FnMut(&mut Vec<u8>, FieldLine<'_>),
    ) {
        let mut run = 0;
        for field in self.iter() {
            let fate = fate(field);
            if fate == Fate::Passes {
                continue;
            }
            to.extend_from_slice(&self.text[run..field.line.start]);
            run = field.line.end;
            if fate == Fate::Changes {
                change(to, field);
            }
        }
        to.extend_from_slice(&self.text[run..]);
    }
}

/// Is this what nearly all write after the colon: one space and a value?
fn is_tidy(text: &[u8]) -> bool {
    matches!(text, [b' ', value @ ..] if has_tidy_ends(value))
}

/// Is there a value, and no blank around it?
fn has_tidy_ends(value: &[u8]) -> bool {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    !value.first().is_none_or(is_blank) && !value.last().is_none_or(is_blank)
}

/// Is there an underscore? Eight bytes are looked at together, and every name is short.
fn has_underscore(name: &[u8]) -> bool {
    let is_in = |bytes: &[u8]| bytes.iter().fold(false, |found, &b| found | (b == b'_'));
    let (words, _) = name.as_chunks::<8>();
    match name.last_chunk::<8>() {
        // What no word covers, the last one does.
        Some(last) => words.iter().any(|word| is_in(word)) || is_in(last),
        None => is_in(name),
    }
}

/// The length and the flag of a name with underscores, if that is what the line begins with.
#[cold]
fn unusual_name(line: &[u8]) -> Result<(usize, Found), Refusal> {
    let length = line.iter().take_while(|&&b| chunk::is_token(b)).count();
    match (length, line.get(length)) {
        (1.., Some(b':')) => Ok((length, Found::of_bytes(&line[..length]).or(Found::UNDERSCORE))),
        _ if matches!(line, [b' ' | b'\t', ..]) => Err(Refusal::FoldedLine),
        _ => Err(Refusal::Malformed),
    }
}

/// The bytes that most names consist of: those that may stand in one, without the underscore.
static IS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        table[b] = chunk::is_token(b as u8) && b != b'_' as usize;
        b += 1;
    }
    table
};

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Field lines of these names and values.
    pub(crate) fn field_lines(fields: &[(&str, &str)]) -> FieldLines {
        let mut lines = FieldLines::default();
        for (name, value) in fields {
            lines.push(format!("{name}: {value}").as_bytes()).unwrap();
        }
        lines
    }

    fn refusal(line: &str) -> Option<Refusal> {
        FieldLines::default().push(line.as_bytes()).err()
    }

    #[test]
    fn lines_are_names_and_values() {
        let lines = field_lines(&[("Host", "a"), ("X-B", "1"), ("x_c", ""), ("x-b", " 2\t")]);
        assert_eq!(lines.get("HOST"), Some(&b"a"[..]));
        assert_eq!(lines.get("x_c"), Some(&b""[..]));
        assert_eq!(lines.get("x"), None);
        assert!(lines.get_all("x-b").eq([b"1", b"2"]));
        assert!(lines.get_all("x-b").rev().eq([b"2", b"1"]));
        assert!(lines.of_kind(Found::HOST).eq([b"a"]));
        assert_eq!(lines.found(), Found::HOST.or(Found::UNDERSCORE).or(Found::UNTIDY));
        assert_eq!(lines.len(), "Host: a\r\nX-B: 1\r\nx_c: \r\nx-b:  2\t\r\n".len());
    }

    #[test]
    fn what_has_been_checked_is_added_alike() {
        let fields =
            [("host", "a"), ("x_b", "1, 2"), ("c", ""), ("cookie", "d=e"), ("x-\u{7c}~", "\u{e4}")];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(name, value);
        }
        let mut added = FieldLines::default();
        added.add_all(&headers);
        let written = field_lines(&fields);
        assert_eq!((&added.text, added.found), (&written.text, written.found));
        let places = |lines: &FieldLines| {
            let places =
                lines.lines.iter().map(|line| (line.start, line.colon, line.end, line.flag));
            places.collect::<Vec<_>>()
        };
        assert_eq!(places(&added), places(&written));
    }

    #[test]
    fn an_underscore_is_found_wherever_it_stands() {
        for length in 1..20 {
            let plain = vec![b'a'; length];
            assert!(!has_underscore(&plain));
            for place in 0..length {
                let mut name = plain.clone();
                name[place] = b'_';
                assert!(has_underscore(&name), "{place} of {length}");
            }
        }
    }

    #[test]
    fn removed_fields_are_gone_however_they_are_written() {
        let mut lines = field_lines(&[("X-Client-Subject", "CN=a"), ("x_client-subject", "CN=b")]);
        lines.add("x-client", b"c").unwrap();
        lines.remove("x-client-subject");
        let mut written = Vec::new();
        let fate = |line: FieldLine<'_>| match line.flag().has(Found::REPLACED) {
            true => Fate::Ends,
            false => Fate::Passes,
        };
        lines.write(&mut written, fate, |_, _| {});
        assert_eq!(written, b"x-client: c\r\n");
        assert_eq!(lines.get("x-client-subject"), None);
        assert!(lines.add("a", b"b\r\nc: d").is_err());
    }

    #[test]
    fn what_is_no_field_line_is_refused() {
        for line in ["no colon", ": x", "a : b", "a b: c", "\u{e4}: b", "a\0: b", "a:\rb", "(a): b"]
        {
            assert_eq!(refusal(line), Some(Refusal::Malformed), "{line:?}");
        }
        for b in (0..b' ').filter(|&b| b != b'\t').chain([0x7f]) {
            let line = [b"a: 0123456789abcdef", &[b][..], b"0123456789abcdef"].concat();
            let refused = FieldLines::default().push(&line).err();
            assert_eq!(refused, Some(Refusal::Malformed), "{b:#x}");
        }
        assert_eq!(refusal(" a: b"), Some(Refusal::FoldedLine));
        for line in ["a:", "a:b", "a:\t\u{e4} \"", "!#$%&'*+-.^_`|~09az: b"] {
            assert_eq!(refusal(line), None, "{line:?}");
        }
    }

    #[test]
    fn odd_blanks_are_seen() {
        let is_untidy = |line: &str| {
            let mut lines = FieldLines::default();
            lines.push(line.as_bytes()).unwrap().0.has(Found::UNTIDY)
        };
        assert!(!is_untidy("a: b") && !is_untidy("a: b c,\td"));
        for line in ["a:b", "a:", "a: ", "a:  b", "a:\tb", "a: b ", "a: b\t", "a: \t"] {
            assert!(is_untidy(line), "{line:?}");
        }
    }

    #[test]
    fn what_passes_goes_on_as_it_came() {
        let mut lines = FieldLines::default();
        for line in ["Host: a", "aCCept:b ", "X-1: c", "X-2: d", "X-3:\te"] {
            lines.push(line.as_bytes()).unwrap();
        }
        lines.replace("host", b"b");
        let written = |fate: fn(FieldLine<'_>) -> Fate| {
            let mut to = b"> ".to_vec();
            lines.write(&mut to, fate, |to, line| to.extend_from_slice(line.value()));
            String::from_utf8(to).unwrap()
        };
        let fate = |line: FieldLine<'_>| match line.name() {
            _ if line.flag().has(Found::REPLACED) => Fate::Ends,
            b"X-1" => Fate::Ends,
            b"X-3" => Fate::Changes,
            _ => Fate::Passes,
        };
        assert_eq!(written(fate), "> aCCept:b \r\nX-2: d\r\nehost: b\r\n");
        assert!(lines.of_kind(Found::HOST).eq([b"b"]));
        assert_eq!(lines.get("host"), Some(&b"b"[..]), "the former is gone");
    }
}

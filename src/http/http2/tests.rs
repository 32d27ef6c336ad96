use httlib_hpack::{Decoder, Encoder};
use proptest::prelude::*;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What of a connection is said to be wrong, and in which byte after its first settings.
fn judge(frames: &[Vec<u8>]) -> Result<(), (Fault, usize)> {
    let mut judge = Judge::default();
    judge.read(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    let whole = judge.read(&frames.concat());
    // In single bytes it is the same, but that less of the frame at fault is there to be kept back.
    let mut slow = Judge::default();
    slow.read(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    let fault = frames.concat().iter().find_map(|&byte| slow.read(&[byte]).err());
    assert_eq!(whole.err().map(|(fault, _)| fault), fault.map(|(fault, _)| fault));
    whole
}

fn fault(frames: &[Vec<u8>]) -> Option<Fault> {
    judge(frames).err().map(|(fault, _)| fault)
}

/// `:method: GET`, indexed.
const HEAD: &[u8] = &[0x82];

const WHOLE: u8 = END_HEADERS | END_STREAM;

#[test]
fn a_connection_begins_with_settings() {
    for (first, wrong) in [
        (frame(SETTINGS, 0, 0, &[]), None),
        (frame(SETTINGS, ACK, 0, &[]), Some(Fault::NoSettings)),
        (frame(PING, 0, 0, &[0; 8]), Some(Fault::NoSettings)),
    ] {
        let answer = Judge::default().read(&[PREFACE, &first].concat());
        assert_eq!(answer.err(), wrong.map(|fault| (fault, PREFACE.len())));
    }
}

#[test]
fn frames_have_the_length_of_their_kind() {
    let window = |size: u32| [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &size.to_be_bytes()].concat();
    let open = frame(HEADERS, END_HEADERS, 1, HEAD);
    for (wrong, frame) in [
        (false, frame(PING, 0, 0, &[0; 8])),
        (true, frame(PING, 0, 0, &[0; 7])),
        (false, frame(PING, 0, 1, &[0; 7])), // it is on a stream, which h2 sees
        (true, frame(RST_STREAM, 0, 1, &[0; 5])),
        (false, frame(RST_STREAM, 0, 1, &[0; 4])),
        (true, frame(PRIORITY, 0, 1, &[0; 4])),
        (true, frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        (true, frame(WINDOW_UPDATE, 0, 1, &[0; 5])),
        (true, frame(GOAWAY, 0, 0, &[0; 7])),
        (false, frame(GOAWAY, 0, 0, &[0; 9])),
        (true, frame(SETTINGS, 0, 0, &[0; 5])),
        (true, frame(SETTINGS, ACK, 0, &[0; 6])),
        (false, frame(SETTINGS, 0, 0, &window(LARGEST_WINDOW))),
        (true, frame(DATA, PADDED, 1, &[])),
        (true, frame(HEADERS, END_HEADERS | PADDED, 3, &[])),
        (true, frame(HEADERS, END_HEADERS | HAS_PRIORITY, 3, &[0; 4])),
        (true, frame(HEADERS, END_HEADERS | HAS_PRIORITY | PADDED, 3, &[0; 5])),
        (false, frame(HEADERS, END_HEADERS | HAS_PRIORITY | PADDED, 3, &[0; 6])),
        (false, frame(0x55, 0, 0, &[0; 5])),
    ] {
        let expected = wrong.then_some((Fault::Size, open.len()));
        assert_eq!(judge(&[open.clone(), frame.clone()]).err(), expected, "{frame:?}");
    }
    let two = [window(5), window(LARGEST_WINDOW + 1)].concat();
    assert_eq!(fault(&[frame(SETTINGS, 0, 0, &two)]), Some(Fault::Window));
}

#[test]
fn nothing_more_comes_on_a_stream_that_was_ended() {
    let whole = frame(HEADERS, WHOLE, 1, HEAD);
    let open = frame(HEADERS, END_HEADERS, 1, HEAD);
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    let data = |flags| frame(DATA, flags, 1, b"a");
    let trailers = frame(HEADERS, WHOLE, 1, &[0x90]);
    let closed = Some(Fault::Closed);
    for (expected, frames) in [
        (closed, vec![whole.clone(), data(0)]),
        (closed, vec![whole.clone(), whole.clone()]),
        (closed, vec![open.clone(), data(END_STREAM), data(0)]),
        (closed, vec![open.clone(), data(END_STREAM), trailers.clone()]),
        (closed, vec![open.clone(), trailers.clone(), data(0)]),
        (closed, vec![open.clone(), reset.clone(), open.clone()]),
        (None, vec![open.clone(), reset.clone(), data(0)]), // h2 resets the stream
        (None, vec![whole.clone(), reset.clone(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])]),
        (None, vec![open.clone(), data(0), trailers.clone(), frame(HEADERS, WHOLE, 3, HEAD)]),
        (None, vec![open.clone(), frame(DATA, 0, 2, b"a")]), // h2 has PROTOCOL_ERROR
    ] {
        assert_eq!(fault(&frames), expected, "{frames:?}");
    }
    let others: Vec<_> = (1..1000).map(|i| frame(HEADERS, WHOLE, 2 * i + 1, HEAD)).collect();
    let much_later = |first: &[Vec<u8>], last: &Vec<u8>| {
        fault(&[first, &others, std::slice::from_ref(last)].concat())
    };
    for last in [&data(0), &whole, &trailers] {
        assert_eq!(much_later(std::slice::from_ref(&whole), last), closed);
        let expected = (*last == whole).then_some(Fault::PseudoField);
        assert_eq!(much_later(std::slice::from_ref(&open), last), expected);
        let is_content = last[3] == DATA; // h2 resets the stream
        let expected = if is_content { None } else { closed };
        assert_eq!(much_later(&[open.clone(), reset.clone()], last), expected);
    }
}

/// Blocks of one request each, on one connection.
fn blocks(blocks: &[&[u8]]) -> Option<Fault> {
    let frames = blocks.iter().zip(0..).map(|(block, i)| frame(HEADERS, WHOLE, 2 * i + 1, block));
    fault(&frames.collect::<Vec<_>>())
}

#[test]
fn blocks_can_be_read() {
    let compression = Some(Fault::Compression);
    for (expected, of) in [
        (None, vec![&[0x82, 0x86, 0x84][..]]),
        (compression, vec![&[0x80]]),       // index 0
        (compression, vec![&[0xff, 0x7f]]), // far beyond the table
        (compression, vec![&[0xbe]]),       // 62, where nothing is yet
        (compression, vec![&[0x7e, 0, 0]]), // the same as a name
        (None, vec![&[0x40, 1, b'a', 1, b'b', 0xbe]]),
        (None, vec![&[0x40, 1, b'a', 0], &[0xbe]]), // remembered
        (compression, vec![&[0x00, 1, b'a', 0], &[0xbe]]), // not to be remembered
        (compression, vec![&[0x40, 1, b'a', 0], &[0xbf]]),
        (compression, vec![&[0x40, 1, b'a', 0], &[0x20, 0xbe]]), // forgotten
        (compression, vec![&[0x82, 0x20]]),                      // a size after a field
        (None, vec![&[0x20, 0x3f, 0xe1, 0x1f, 0x82]]),           // two sizes, the last of them 4096
        (compression, vec![&[0x3f, 0xe2, 0x1f]]),                // 4097
        (compression, vec![&[0x40, 5, b'a']]),                   // half a name
        (compression, vec![&[0x40, 1, b'a', 0x7f]]),             // half a length
        (compression, vec![&[0x0f]]),                            // half an index
        (compression, vec![&[0xff, 0x80, 0x80, 0x80, 0x80, 0]]), // a number without end
        (None, vec![&[0x40, 0x81, 0x1f, 0x81, 0x1f, 0xbe]]),     // "a" in the code, twice
        (compression, vec![&[0x40, 0x81, 0x10, 1, b'a']]),       // a name filled up with zeros
        (compression, vec![&[0x00, 1, b'a', 0x82, 0x1f, 0xff]]), // a value with a byte too much
        (compression, vec![&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff]]), // the end of strings
        (compression, vec![&[0x40, 1, b'a', 0x82, 0x1f]]),       // half a string in the code
        (None, vec![&[0x10, 0, 0]]), // h2 says that a name has to be there
    ] {
        assert_eq!(blocks(&of), expected, "{of:x?}");
    }
}

/// A field that is to be remembered, of so many bytes with what it counts for itself.
fn large_field(size: usize) -> Vec<u8> {
    let rest = size - 33 - 127;
    let length = [127, (rest % 128 + 128) as u8, (rest / 128) as u8];
    [&[0x40, 1, b'a'][..], &length, &vec![b'b'; size - 33]].concat()
}

#[test]
fn the_table_has_what_there_is_room_for() {
    let compression = Some(Fault::Compression);
    let (large, larger) = (large_field(4096), large_field(4097));
    assert_eq!(blocks(&[&large, &[0xbe]]), None);
    assert_eq!(blocks(&[&larger, &[0xbe]]), compression, "it is larger than the table");
    assert_eq!(blocks(&[&[0x40, 1, b'a', 0], &larger, &[0xbe]]), compression, "nothing is left");
    assert_eq!(blocks(&[&large, &[0x7e, 0], &[0xbe]]), None, "a name that has gone");
    assert_eq!(blocks(&[&large, &[0x7e, 0], &[0xbf]]), compression);
    let half = large_field(2048);
    assert_eq!(blocks(&[&half, &half, &[0xbf]]), None);
    assert_eq!(blocks(&[&half, &half, &[0x3f, 0xe0, 0x1f, 0xbf]]), compression, "4095 bytes");
    // 32 bytes, and 5 + 5 in the name of the static table and in the code (RFC 7541, appendix B).
    let coded = [0x44, 0x84, 0x18, 0xc6, 0x31, 0xff];
    assert_eq!(blocks(&[&[&[0x3f, 11][..], &coded, &[0xbe]].concat()]), None, "42 bytes");
    assert_eq!(blocks(&[&[&[0x3f, 10][..], &coded, &[0xbe]].concat()]), compression, "41 bytes");
}

#[test]
fn blocks_go_on_in_other_frames() {
    let block = [0x40, 3, b'a', b'b', b'c', 2, b'd', b'e', 0xbe];
    for cut in 0..=block.len() {
        let begin = [&[2][..], &[0; 5], &block[..cut], &[0xff; 2]].concat();
        let frames = |rest: &[u8], stream| {
            vec![
                frame(HEADERS, PADDED | HAS_PRIORITY | END_STREAM, 1, &begin),
                frame(CONTINUATION, 0, stream, &[]),
                frame(CONTINUATION, END_HEADERS, stream, rest),
                frame(PING, 0, 0, &[0; 8]),
            ]
        };
        assert_eq!(fault(&frames(&block[cut..], 1)), None, "{cut}");
        let is_whole = cut == 0 || cut >= block.len() - 1;
        let expected = (!is_whole).then_some(Fault::Compression);
        assert_eq!(fault(&frames(&[], 1)), expected, "{cut}");
        assert_eq!(fault(&frames(&[0x80], 3)), None, "of another stream: h2 says so");
    }
    let too_much = frame(HEADERS, WHOLE | PADDED, 1, &[9, 0x80]);
    assert_eq!(fault(&[too_much]), None, "more padding than there is: h2 says so");
}

#[test]
fn trailers_have_no_pseudo_fields() {
    let open = frame(HEADERS, END_HEADERS, 1, &[0x82]);
    let trailers = |block: &[u8]| fault(&[open.clone(), frame(HEADERS, WHOLE, 1, block)]);
    let pseudo = Some(Fault::PseudoField);
    assert_eq!(trailers(&[0x82]), pseudo);
    assert_eq!(trailers(&[0x04, 1, b'/']), pseudo, "a name of the table");
    assert_eq!(trailers(b"\x00\x05:path\x01/"), pseudo);
    assert_eq!(trailers(&[0x00, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 0]), pseudo, "in the code");
    assert_eq!(trailers(b"\x00\x01a\x01:"), None, "a value may have one");
    assert_eq!(trailers(&[0x90]), None);
    let after = |head: &[u8], block: &[u8]| {
        fault(&[frame(HEADERS, END_HEADERS, 1, head), frame(HEADERS, WHOLE, 1, block)])
    };
    for (expected, head) in [
        (pseudo, &b"\x44\x02/a"[..]),            // a name of the static table
        (pseudo, b"\x40\x05:path\x02/a"),        // one of its own
        (pseudo, b"\x40\x84\xb9\x58\xd3\x3f\0"), // the same in the code
        (pseudo, b"\x44\x02/a\x7e\x02/b"),       // one of the dynamic table
        (None, b"\x44\x02/a\x40\x01a\x01:"),
    ] {
        assert_eq!(after(head, &[0xbe]), expected, "{head:x?}");
        assert_eq!(after(head, &[0x7e, 0]), expected, "{head:x?}");
        assert_eq!(after(head, &[0x40, 1, b'b', 0, 0xbe]), None, "another one");
        assert_eq!(after(head, &[0x40, 1, b'b', 0, 0xbf]), expected, "{head:x?}");
    }
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, and the same verdict.
    #[test]
    fn pieces_make_no_difference(
        frames in proptest::collection::vec(
            (0u8..11, any::<u8>(), 0u32..8, proptest::collection::vec(any::<u8>(), 0..20)), 1..20),
        size in 1usize..40,
    ) {
        let frames = frames.iter().map(|(kind, flags, stream, payload)| {
            frame(*kind, *flags, *stream, payload)
        });
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.collect::<Vec<_>>().concat()].concat();
        let whole = Judge::default().read(&bytes);
        let mut judge = Judge::default();
        let pieces = bytes.chunks(size).enumerate().find_map(|(i, piece)| {
            let (fault, through) = judge.read(piece).err()?;
            Some((fault, i * size + through))
        });
        prop_assert_eq!(whole.err().map(|(fault, _)| fault), pieces.map(|(fault, _)| fault));
        if let (Err((_, begin)), Some((_, through))) = (whole, pieces) {
            // Nothing that is whole in the end, and not less than was right.
            prop_assert!(begin <= through);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What an encoder makes of fields of any kind is followed to its end, and so is its table.
    #[test]
    fn right_blocks_are_let_through(
        requests in proptest::collection::vec(request(), 1..12),
        pieces in proptest::collection::vec(any::<usize>(), 0..4),
        index in index(),
    ) {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for (request, stream) in requests.iter().zip((1..).step_by(2)) {
            let block = encoded(&mut encoder, request);
            decoder.decode(&mut block.clone(), &mut Vec::new()).unwrap();
            frames.extend(in_pieces(stream, &block, &pieces));
        }
        prop_assert_eq!(fault(&frames), None);
        // Any field in the trailers of the last one.
        let mut fields = Vec::new();
        let expected = match decoder.decode(&mut vec![0x80 | index], &mut fields) {
            Err(_) => Some(Fault::Compression),
            Ok(_) if fields[0].0.starts_with(b":") => Some(Fault::PseudoField),
            Ok(_) => None,
        };
        frames.push(frame(HEADERS, WHOLE, 2 * requests.len() as u32 - 1, &[0x80 | index]));
        prop_assert_eq!(fault(&frames), expected);
    }

    /// And if a few bytes are others, the verdict does not depend on the pieces either.
    #[test]
    fn wrong_blocks_are_followed_as_well(
        requests in proptest::collection::vec(request(), 1..6),
        changes in proptest::collection::vec(any::<(usize, u8)>(), 1..4),
        pieces in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        for (request, stream) in requests.iter().zip((1..).step_by(2)) {
            let mut block = encoded(&mut encoder, request);
            for (at, change) in &changes {
                let at = at % block.len();
                block[at] ^= change;
            }
            frames.extend(in_pieces(stream, &block, &pieces));
        }
        let fault = fault(&frames);
        prop_assert!(matches!(fault, None | Some(Fault::Compression)), "{:?}", fault);
    }
}

/// How a field is written: by its number, by that of its name, or in full, with flags of the encoder.
#[derive(Clone, Debug)]
enum Field {
    Indexed(u8),
    IndexedName(u8, Vec<u8>, u8),
    Literal(Vec<u8>, Vec<u8>, u8),
}

/// A new size of the table, perhaps, and fields.
type Request = (Option<u32>, Vec<Field>);

/// The number of a field that there may be.
fn index() -> impl Strategy<Value = u8> {
    prop_oneof![1u8..62, 62u8..66, 62u8..127]
}

fn request() -> impl Strategy<Value = Request> {
    let text =
        |most: usize| proptest::collection::vec(prop_oneof![32u8..127, any::<u8>()], 0..most);
    let name = prop_oneof![
        proptest::sample::select(vec![&b":path"[..], b":new", b"cookie", b"x", b"x-y"])
            .prop_map(<[u8]>::to_vec),
        text(40),
    ];
    let long = (any::<u8>(), 0usize..4200).prop_map(|(byte, length)| vec![byte; length]);
    let value = prop_oneof![5 => text(40), 1 => long];
    let literal = (name, value.clone(), 0u8..32);
    let field = prop_oneof![
        index().prop_map(Field::Indexed),
        (index(), value, 0u8..16)
            .prop_map(|(index, value, flags)| { Field::IndexedName(index, value, flags) }),
        literal.prop_map(|(name, value, flags)| Field::Literal(name, value, flags)),
    ];
    let size = prop_oneof![5 => Just(None), 1 => (0u32..=4096).prop_map(Some)];
    (size, proptest::collection::vec(field, 1..12))
}

/// The block of a request. Numbers of fields that are not there are left out.
fn encoded(encoder: &mut Encoder<'_>, (size, fields): &Request) -> Vec<u8> {
    let mut block = Vec::new();
    if let Some(size) = size {
        encoder.update_max_dynamic_size(*size, &mut block).unwrap();
    }
    for field in fields.iter().cloned() {
        let _ = match field {
            Field::Indexed(index) => encoder.encode(u32::from(index), &mut block),
            Field::IndexedName(index, value, flags) => {
                encoder.encode((u32::from(index), value, flags), &mut block)
            }
            Field::Literal(name, value, flags) => encoder.encode((name, value, flags), &mut block),
        };
    }
    block.push(0x90); // there is always something
    block
}

/// A head that goes on in other frames.
fn in_pieces(stream: u32, block: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<_> = pieces.iter().map(|cut| cut % block.len()).collect();
    cuts.extend([0, block.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    let frames = cuts.windows(2).enumerate().map(|(i, cut)| {
        let kind = if i == 0 { HEADERS } else { CONTINUATION };
        let flags = if i == last { END_HEADERS } else { 0 };
        frame(kind, flags, stream, &block[cut[0]..cut[1]])
    });
    frames.collect()
}

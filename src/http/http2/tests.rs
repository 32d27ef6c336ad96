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
    ] {
        assert_eq!(fault(&frames), expected, "{frames:?}");
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
        (None, vec![&[0x10, 0, 0]]), // h2 says that a name has to be there
    ] {
        assert_eq!(blocks(&of), expected, "{of:x?}");
    }
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

    /// Fields of any kind are followed to their end.
    #[test]
    fn right_blocks_are_let_through(
        fields in proptest::collection::vec((0u8..5, 1u8..62, ".{1,200}", ".{0,300}"), 1..30),
        pieces in proptest::collection::vec(0usize..4000, 0..4),
    ) {
        let mut block = Vec::new();
        for (kind, index, name, value) in fields {
            let text = |block: &mut Vec<u8>, text: &str| {
                match text.len() {
                    short @ ..127 => block.push(short as u8),
                    long => {
                        block.push(127);
                        let mut rest = long - 127;
                        while rest >= 128 {
                            block.push((rest % 128 + 128) as u8);
                            rest /= 128;
                        }
                        block.push(rest as u8);
                    }
                }
                block.extend(text.as_bytes());
            };
            match kind {
                0 => block.push(0x80 | index),
                1 => { block.push(0x40 | index); text(&mut block, &value); }
                2 => { block.push(0x40); text(&mut block, &name); text(&mut block, &value); }
                3 => { block.push(0); text(&mut block, &name); text(&mut block, &value); }
                _ => { block.push(0x10); text(&mut block, &name); text(&mut block, &value); }
            }
        }
        let mut cuts: Vec<_> = pieces.into_iter().map(|cut| cut % block.len()).collect();
        cuts.extend([0, block.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        let frames = cuts.windows(2).enumerate().map(|(i, cut)| {
            let kind = if i == 0 { HEADERS } else { CONTINUATION };
            let flags = if i == last { END_HEADERS } else { 0 };
            frame(kind, flags, 1, &block[cut[0]..cut[1]])
        });
        prop_assert_eq!(fault(&frames.collect::<Vec<_>>()), None);
    }
}

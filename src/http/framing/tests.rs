use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10, target: 100 };

/// What a scanner makes of a client's bytes: the lengths of the messages, then the refusal or
/// whether it ended between messages.
fn messages(scanner: &mut Scanner, mut bytes: &[u8]) -> (Vec<usize>, Result<bool, Refusal>) {
    let mut lengths = Vec::new();
    while !bytes.is_empty() {
        match scanner.scan(bytes, &mut FieldLines::default()) {
            Ok(Scanned { taken, .. }) => {
                lengths.push(taken);
                bytes = &bytes[taken..];
            }
            Err(refusal) => return (lengths, Err(refusal)),
        }
    }
    (lengths, Ok(scanner.is_idle()))
}

fn requests(text: &str) -> (Vec<usize>, Result<bool, Refusal>) {
    messages(&mut Scanner::new(LIMITS), text.as_bytes())
}

fn refusal(text: &str) -> Option<Refusal> {
    requests(text).1.err()
}

#[test]
fn messages_end_where_they_end() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tChunked \r\n\r\n\
                   3;x=\"y\"\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n";
    let pipelined = format!("{get}{sized}\r\n{chunked}{get}");
    let (lengths, end) = requests(&pipelined);
    assert_eq!(lengths, [get.len(), sized.len(), 2 + chunked.len(), get.len()]);
    assert_eq!(end, Ok(true));
    assert_eq!(requests(&get[..20]).1, Ok(false));
    assert_eq!(requests(&chunked[..chunked.len() - 2]).1, Ok(false));
}

#[test]
fn ambiguous_framing_is_refused() {
    let post = |fields: &str| refusal(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
    ] {
        assert_eq!(post(both), Some(Refusal::LengthAndCoding));
    }
    for length in ["", "+3", "-3", "3 3", "3,3", "0x3", "3;", "99999999999999999999", "a"] {
        assert_eq!(post(&format!("Content-Length: {length}")), Some(Refusal::ContentLength));
    }
    assert_eq!(post("Content-Length: 3\r\ncontent-length: 3"), Some(Refusal::ContentLength));
    for coding in [
        "",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "\"chunked\"",
        "xchunked",
        "chunked;q=1",
    ] {
        assert_eq!(post(&format!("Transfer-Encoding: {coding}")), Some(Refusal::TransferCoding));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
    assert_eq!(post(twice), Some(Refusal::TransferCoding));
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refusal(old), Some(Refusal::TransferCoding));
}

#[test]
fn chunks_are_framed_strictly() {
    let chunks = |body: &str| {
        refusal(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
    };
    assert_eq!(chunks("3\r\nabc\r\n0\r\n\r\n"), None);
    for size in ["3 ", " 3", "3;", "0x3", "", "3;a b", "g"] {
        assert_eq!(
            chunks(&format!("{size}\r\nabc\r\n0\r\n\r\n")),
            Some(Refusal::Chunk),
            "{size:?}"
        );
    }
    assert_eq!(chunks("3\nabc\r\n0\r\n\r\n"), Some(Refusal::BareLineFeed));
    assert_eq!(chunks("3\r\nabcd\r\n0\r\n\r\n"), Some(Refusal::Chunk), "too much data");
    assert_eq!(chunks("3\r\nabc\n0\r\n\r\n"), Some(Refusal::BareLineFeed));
    assert_eq!(chunks(&format!("3;{}\r\n", "a".repeat(2000))), Some(Refusal::Chunk));
    assert_eq!(chunks(&"a".repeat(2000)), Some(Refusal::Chunk), "never a line end");
}

#[test]
fn trailers_may_not_frame() {
    let trailer = |line: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        refusal(&format!("{head}{line}\r\n\r\n"))
    };
    assert_eq!(trailer("x-sum: 1"), None);
    for line in
        ["Content-Length: 3", "transfer-encoding: chunked", "HOST: b", "no colon", ": x", "a : b"]
    {
        assert_eq!(trailer(line), Some(Refusal::TrailerField), "{line:?}");
    }
    assert_eq!(trailer(" folded: 1"), Some(Refusal::FoldedLine));
    assert_eq!(trailer(&format!("x: {}", "a".repeat(2000))), Some(Refusal::HeadTooLarge));
}

#[test]
fn heads_are_read_strictly() {
    for (head, why) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Refusal::FoldedLine),
        ("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", Refusal::FoldedLine),
        ("GET  / HTTP/1.1\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", Refusal::RequestLine),
        ("GET /\r\n\r\n", Refusal::RequestLine),
        (" GET / HTTP/1.1\r\n\r\n", Refusal::RequestLine),
        ("G@T / HTTP/1.1\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1x\r\n\r\n", Refusal::RequestLine),
        ("GET / http/1.1\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/2.0\r\n\r\n", Refusal::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
        ("GET /a\tb HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET /a#b HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET /\u{e4} HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET /\0 HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET /<x> HTTP/1.1\r\n\r\n", Refusal::Target),
    ] {
        assert_eq!(refusal(head), Some(why), "{head:?}");
    }
    assert_eq!(refusal("GET /a?b=[c]{d}|e^f`g\\h HTTP/1.1\r\nHost: a\r\n\r\n"), None);
}

#[test]
fn limits_hold_while_a_head_arrives() {
    let endless_line = format!("GET /{}", "a".repeat(300));
    assert_eq!(refusal(&endless_line), Some(Refusal::TargetTooLong));
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100));
    assert_eq!(refusal(&long), Some(Refusal::TargetTooLong));
    let endless_field = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(2000));
    assert_eq!(refusal(&endless_field), Some(Refusal::HeadTooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(11));
    assert_eq!(refusal(&many), Some(Refusal::TooManyFields));
    let empty_lines = "\r\n".repeat(2000);
    assert_eq!(refusal(&empty_lines), Some(Refusal::HeadTooLarge));
}

proptest! {
    /// However the bytes are cut, the verdict is the same.
    #[test]
    fn cuts_do_not_matter(
        text in request_like(),
        cuts in proptest::collection::vec(0usize..400, 0..6),
    ) {
        let whole = requests(&text);
        let mut scanner = Scanner::new(LIMITS);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % (text.len() + 1)).collect();
        cuts.push(text.len());
        cuts.sort_unstable();
        let mut start = 0;
        let mut end = Ok(true);
        for cut in cuts {
            end = messages(&mut scanner, &text.as_bytes()[start..cut]).1;
            if end.is_err() {
                break;
            }
            start = cut;
        }
        let end = end.map(|_| scanner.is_idle());
        prop_assert_eq!(whole.1.is_err(), end.is_err(), "{:?} {:?}", whole, end);
        if end.is_ok() {
            prop_assert_eq!(whole.1, end);
        }
    }

    /// No bytes panic it, and a message is never empty.
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (lengths, _) = messages(&mut Scanner::new(LIMITS), &bytes);
        prop_assert!(lengths.iter().all(|&length| length > 0));
    }

    /// Where the scanner sees one whole head, httparse sees the same.
    #[test]
    fn heads_end_where_a_parser_says(text in request_like()) {
        let (lengths, end) = requests(&text);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let (Ok(httparse::Status::Complete(head)), Ok(_)) = (request.parse(text.as_bytes()), end) {
            let has_body = request.headers.iter().any(|h| {
                h.name.eq_ignore_ascii_case("transfer-encoding")
                    || (h.name.eq_ignore_ascii_case("content-length") && h.value != b"0")
            });
            if !has_body {
                prop_assert_eq!(lengths[0], head);
            }
        }
    }
}

/// Something that often is a request, and sometimes nearly one.
fn request_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1"),
        Just("POST /x?y HTTP/1.1"),
        Just("POST / HTTP/1.0"),
        Just(""),
    ];
    let field = prop_oneof![
        Just("Host: a"),
        Just("Content-Length: 5"),
        Just("Content-Length: 0"),
        Just("Transfer-Encoding: chunked"),
        Just("Transfer-Encoding: x"),
        Just("Cookie: a=b; c"),
        Just("X: y"),
        Just(" fold"),
    ];
    let body = prop_oneof![
        Just(""),
        Just("hello"),
        Just("5\r\nhello\r\n0\r\n\r\n"),
        Just("5\r\nhell"),
        Just("0\r\nx: y\r\n\r\n"),
        Just("GET / HTTP/1.1\r\n\r\n"),
        Just("5 \r\nhello\r\n"),
    ];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    (line, proptest::collection::vec((field, end.clone()), 0..5), end, body).prop_map(
        |(line, fields, end, body)| {
            let fields: String =
                fields.iter().map(|(field, end)| format!("{field}{end}")).collect();
            format!("{line}\r\n{fields}{end}{body}")
        },
    )
}

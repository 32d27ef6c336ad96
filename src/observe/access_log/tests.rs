use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::balance::{BackendId, Cause, Reason};
use crate::config::AccessLogFormat;
use crate::observe::{End, ProblemKind};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn settings(path: &Path, format: AccessLogFormat) -> config::AccessLog {
    let path = AccessLogPath::File(path.into());
    config::AccessLog { path, format, query: true, lines: LinesKept::All }
}

fn head() -> Head<'static> {
    Head {
        method: "GET",
        host: b"shop.example",
        path: "/a",
        query: Some("b=c"),
        protocol: "HTTP/1.1",
        user_agent: Some(b"curl"),
        referer: Some(b"http://x/y?z"),
    }
}

fn outline() -> Outline<'static> {
    Outline {
        status: 200,
        bytes_in: 3,
        bytes_out: 64,
        pool: Some("shop"),
        backend: Some("shop-1"),
        cause: Some(Cause::Bound),
        attempts: 1,
        session: Some(0xab),
        end: End::Complete,
        problem: None,
        request_id: Id::Text("id-1"),
        phases: [0, 1_500, 0, 0, 7_000_000, 0],
        nanos: 8_000_000,
    }
}

/// The text of the file after these requests.
fn logged(settings: config::AccessLog, requests: &[(Option<Head<'_>>, Outline<'_>)]) -> String {
    let log = Arc::new(AccessLog::default());
    log.configure(Some(&settings)).unwrap();
    let pen = Pen::new(log.clone());
    for (head, outline) in requests {
        let request = Request { client: CLIENT, peer: PEER, head: *head };
        let line = pen.begin(&request, Timestamp::from_millis(1_795_241_228_901)).unwrap();
        pen.end(line, outline);
    }
    drop(pen);
    log.finish();
    let AccessLogPath::File(path) = &settings.path else { unreachable!() };
    fs::read_to_string(path).unwrap()
}

#[test]
fn json_says_everything() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir.path().join("log"), AccessLogFormat::Json);
    let text = logged(settings, &[(Some(head()), outline())]);
    assert_eq!(
        text,
        "{\"time\":\"2026-11-21T06:07:08.901Z\",\"client\":\"192.0.2.7\",\"peer\":\"127.0.0.1\",\
         \"method\":\"GET\",\"host\":\"shop.example\",\"path\":\"/a\",\"query\":\"b=c\",\
         \"protocol\":\"HTTP/1.1\",\"user_agent\":\"curl\",\"referer\":\"http://x/y?z\",\
         \"status\":200,\"bytes_in\":3,\"bytes_out\":64,\"pool\":\"shop\",\"backend\":\"shop-1\",\
         \"cause\":\"bound\",\"end\":\"complete\",\"attempts\":1,\"session\":\"00000000000000ab\",\
         \"request_id\":\"id-1\",\"duration_us\":8000,\"body_us\":0,\"queue_us\":1,\"connect_us\":0,\"failed_us\":0,\
         \"head_us\":7000,\"transfer_us\":0}\n"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn combined_is_what_others_call_so() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir.path().join("log"), AccessLogFormat::Combined);
    let left = Outline { status: 0, bytes_out: 0, end: End::ClientLeft, ..outline() };
    let refused = Outline { status: 400, problem: Some(ProblemKind::BadRequest), ..outline() };
    let text =
        logged(settings, &[(Some(head()), outline()), (Some(head()), left), (None, refused)]);
    let start = "192.0.2.7 - - [21/Nov/2026:06:07:08 +0000]";
    assert_eq!(
        text,
        format!(
            "{start} \"GET /a?b=c HTTP/1.1\" 200 64 \"http://x/y?z\" \"curl\"\n\
             {start} \"GET /a?b=c HTTP/1.1\" 499 0 \"http://x/y?z\" \"curl\"\n\
             {start} \"-\" 400 64 \"-\" \"-\"\n"
        )
    );
}

#[test]
fn extended_is_combined_and_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir.path().join("log"), AccessLogFormat::Extended);
    let refused = Outline {
        status: 400,
        pool: None,
        backend: None,
        cause: None,
        problem: Some(ProblemKind::BadRequest),
        ..outline()
    };
    let text = logged(settings, &[(Some(head()), outline()), (None, refused)]);
    let start = "192.0.2.7 - - [21/Nov/2026:06:07:08 +0000]";
    let times = "attempts=1 request_id=id-1 duration_us=8000 body_us=0 queue_us=1 connect_us=0 \
                 failed_us=0 head_us=7000 transfer_us=0";
    let problem = ProblemKind::BadRequest.as_str();
    assert_eq!(
        text,
        format!(
            "{start} \"GET /a?b=c HTTP/1.1\" 200 64 \"http://x/y?z\" \"curl\" pool=shop \
             backend=shop-1 cause=bound reason=- problem=- end=complete {times}\n\
             {start} \"-\" 400 64 \"-\" \"-\" pool=- backend=- cause=- reason=- \
             problem={problem} end=complete {times}\n"
        )
    );
}

#[test]
fn queries_can_be_left_out_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    for format in [AccessLogFormat::Json, AccessLogFormat::Combined] {
        let settings = settings(&dir.path().join(format!("{format:?}")), format);
        let settings = config::AccessLog { query: false, ..settings };
        let text = logged(settings, &[(Some(head()), outline())]);
        assert!(!text.contains("b=c") && !text.contains("?z") && text.contains("http://x/y"));
    }
}

#[test]
fn only_what_is_notable_if_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir.path().join("log"), AccessLogFormat::Json);
    let settings = config::AccessLog { lines: LinesKept::Notable, ..settings };
    let from = BackendId::new("shop", "shop-2");
    let moved = Some(Cause::Moved { from, reason: Reason::Down });
    let all = [
        outline(),
        Outline { status: 404, ..outline() },
        Outline { status: 502, ..outline() },
        Outline { end: End::BackendBroke, ..outline() },
        Outline { cause: moved, ..outline() },
        Outline { attempts: 2, ..outline() },
    ];
    let text = logged(settings, &all.map(|outline| (Some(head()), outline)));
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("\"cause\":\"moved\",\"reason\":\"down\""));
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("log"), dir.path().join("log.1"));
    let settings = settings(&path, AccessLogFormat::Combined);
    let log = Arc::new(AccessLog::default());
    log.configure(Some(&settings)).unwrap();
    let pen = Pen::new(log.clone());
    let write = || {
        let request = Request { client: CLIENT, peer: PEER, head: Some(head()) };
        pen.end(pen.begin(&request, Timestamp::ZERO).unwrap(), &outline());
        pen.refresh();
        log.finish();
    };
    write();
    fs::rename(&path, &rotated).unwrap();
    write();
    log.reopen();
    write();
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&rotated), lines(&path)), (2, 1));
    // So does the same configuration once more; another one changes the output at the next tick.
    fs::remove_file(&path).unwrap();
    log.configure(Some(&settings)).unwrap();
    write();
    assert_eq!(lines(&path), 1);
    let other = AccessLogPath::File(dir.path().join("nowhere/log"));
    assert!(log.configure(Some(&config::AccessLog { path: other, ..settings })).is_err());
    write();
    assert_eq!(lines(&path), 2, "what worked goes on");
    log.configure(None).unwrap();
    pen.refresh();
    assert!(!pen.is_on());
}

proptest! {
    #[test]
    fn nothing_breaks_out_of_its_line(bytes: Vec<u8>, path in "\\PC*", query in "[\"\\\\\u{0}-\u{7f}é]*") {
        let dir = tempfile::tempdir().unwrap();
        let head = Head {
            host: &bytes,
            user_agent: Some(&bytes),
            referer: Some(&bytes),
            path: &path,
            query: Some(&query),
            ..head()
        };
        let json = logged(settings(&dir.path().join("json"), AccessLogFormat::Json), &[(Some(head), outline())]);
        prop_assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&value["path"], &path);
        prop_assert_eq!(&value["query"], &query);
        prop_assert_eq!(&value["status"], 200);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            prop_assert_eq!(&value["user_agent"], text);
        }
        let combined = settings(&dir.path().join("combined"), AccessLogFormat::Combined);
        let combined = logged(combined, &[(Some(head), outline())]);
        prop_assert_eq!(combined.matches('\n').count(), 1);
        prop_assert_eq!(combined.matches('"').count(), 6);
        prop_assert!(combined.is_ascii());
    }
}

#[test]
fn numbers_have_sixteen_digits() {
    for value in [0, 1, 0xdead_beef, 0x0123_4567_89ab_cdef, 0xf0e1_d2c3_b4a5_9687, u64::MAX] {
        assert_eq!(std::str::from_utf8(&hex(value)).unwrap(), format!("{value:016x}"));
    }
}

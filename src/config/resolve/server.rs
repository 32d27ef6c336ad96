//! `[server]` and `[token]`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use http::header::HeaderName;

use super::Resolver;
use crate::balance::affinity::Key;
use crate::config::at::At;
use crate::config::file::{
    self, Limit, LogFormat, LogOutput, RequestIdHeader, StandardOutput, Trace, Workers,
};
use crate::config::leaf::{Leaf, Size};
use crate::config::load;
use crate::config::{AccessLog, AccessLogPath, ClientTimeouts, Http2, Limits, Log, Server};
use crate::http::fields::Found;

impl Resolver<'_> {
    pub(super) fn server(
        &mut self,
        file: &file::Server,
        token: &file::Token,
        at: At<'_>,
    ) -> Server {
        let token_keys = self.token_keys(token, at.key("token"));
        let at = at.key("server");
        Server {
            workers: match file.workers {
                Workers::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
                Workers::Auto(_) => {
                    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
                }
            },
            shutdown_timeout: file.shutdown_timeout.0,
            state_dir: match &file.state_dir {
                Some(path) => self.directory.join(&path.0),
                None => self.default_state_dir(),
            },
            token_keys,
            watch_config: file.watch_config,
            token_keys_file: token.keys_file.as_ref().map(|path| self.directory.join(&path.0)),
            underscores_in_headers: file.underscores_in_headers,
            timeouts: self.client_timeouts(&file.timeouts, at.key("timeouts")),
            limits: self.limits(&file.limits, at.key("limits")),
            http2: self.http2(&file.http2, at.key("http2")),
            log: Log {
                filter: file.log.filter.0.0.clone(),
                json: file.log.format == LogFormat::Json,
            },
            access_log: file.access_log.as_ref().map(|log| self.access_log(log)),
            request_id_header: match &file.request_id_header {
                RequestIdHeader::Off(_) => None,
                RequestIdHeader::Named(name) => {
                    self.may_be_replaced(&name.0, at.key("request_id_header"));
                    Some(name.0.clone())
                }
            },
            starts_traces: file.trace == Trace::Start,
            error_pages: self.error_pages(&file.error_pages, at.key("error_pages")),
        }
    }

    fn access_log(&self, file: &file::AccessLog) -> AccessLog {
        AccessLog {
            path: match &file.path {
                LogOutput::Standard(StandardOutput::Stdout) => AccessLogPath::Stdout,
                LogOutput::Standard(StandardOutput::Stderr) => AccessLogPath::Stderr,
                LogOutput::File(path) => AccessLogPath::File(self.directory.join(&path.0)),
            },
            format: file.format,
            query: file.query,
            lines: file.lines,
        }
    }

    /// A field of ours takes the place of the client's: that must not be one that means something.
    fn may_be_replaced(&mut self, name: &HeaderName, at: At<'_>) {
        let is_ours = Found::of_text(name.as_str()) == Found::REQUEST_ID;
        if !is_ours && !Found::may_be_trailer(name.as_str()) {
            let title = format!("server.request_id_header cannot be {name}");
            let mistake = self.mistakes.error(at, title);
            mistake
                .label("this field has a meaning of its own")
                .help("the usual one is x-request-id");
        }
    }

    fn default_state_dir(&self) -> PathBuf {
        let directory = |name: &str| {
            let value = (self.environment)(name)?;
            // systemd gives several with colons between them; the first is the main one. The XDG
            // specification wants relative paths to be ignored.
            let first = PathBuf::from(value.split(':').next()?);
            first.is_absolute().then_some(first)
        };
        directory("STATE_DIRECTORY")
            .or_else(|| Some(directory("XDG_STATE_HOME")?.join("stickler")))
            .or_else(|| Some(directory("HOME")?.join(".local/state/stickler")))
            .unwrap_or_else(|| "/var/lib/stickler".into())
    }

    fn client_timeouts(&mut self, file: &file::ClientTimeouts, at: At<'_>) -> ClientTimeouts {
        ClientTimeouts {
            request_header: self.positive(&file.request_header, at.key("request_header")),
            request_body: self.positive(&file.request_body, at.key("request_body")),
            response_write: self.positive(&file.response_write, at.key("response_write")),
            idle: self.positive(&file.idle, at.key("idle")),
        }
    }

    fn http2(&mut self, file: &file::Http2, at: At<'_>) -> Http2 {
        // The smallest is what every client may assume at first.
        let windows = Size(65_535)..=Size::kib(16 * 1024);
        let mut window = |size, key| {
            let size = self.size(size, windows.clone(), at.key(key));
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        Http2 {
            stream_window: window(&file.stream_window, "stream_window"),
            connection_window: window(&file.connection_window, "connection_window"),
            max_concurrent_streams: file.max_concurrent_streams,
        }
    }

    fn limits(&mut self, file: &file::Limits, at: At<'_>) -> Limits {
        // hyper reads heads into a buffer that cannot be smaller than 8 KiB.
        let heads = Size::kib(8)..=Size::kib(256);
        // Parsed URIs count their parts in 16 bits.
        let targets = Size(256)..=Size(65_534);
        let buffers = Size(0)..=Size::kib(16 * 1024);
        let rates = Size(0)..=Size(u32::MAX.into());
        self.target_fits_the_head(file, at);
        let min_rate = self.size(&file.min_rate, rates, at.key("min_rate"));
        Limits {
            header_bytes: self.size(&file.header_bytes, heads, at.key("header_bytes")),
            header_count: usize::try_from(file.header_count).unwrap_or(usize::MAX),
            uri_length: self.size(&file.uri_length, targets, at.key("uri_length")),
            body_bytes: match &file.body_bytes {
                Limit::Unlimited(_) => u64::MAX,
                Limit::AtMost(size) => size.0.0,
            },
            request_buffer: self.size(&file.request_buffer, buffers, at.key("request_buffer")),
            min_rate: u32::try_from(min_rate).unwrap_or(u32::MAX),
            requests_per_connection: match file.requests_per_connection {
                Limit::Unlimited(_) => u64::MAX,
                Limit::AtMost(requests) => requests.get(),
            },
        }
    }

    fn target_fits_the_head(&mut self, file: &file::Limits, at: At<'_>) {
        if file.uri_length.0 > file.header_bytes.0 {
            let (at_target, at_head) = (at.key("uri_length"), at.key("header_bytes"));
            let place = if at_target.exists() { at_target } else { at_head };
            let title = "server.limits.uri_length is larger than header_bytes";
            let help = format!(
                "uri_length is {}, header_bytes is {}",
                self.in_words(at_target, file.uri_length.0),
                self.in_words(at_head, file.header_bytes.0)
            );
            let mistake = self.mistakes.error(place, title);
            mistake.label("the target is a part of the head").help(help);
            mistake.depends_on(at_target).depends_on(at_head);
        }
    }

    fn token_keys(&mut self, file: &file::Token, at: At<'_>) -> Vec<Key> {
        match (&file.keys, &file.keys_file) {
            (None, None) => Vec::new(),
            (Some(keys), None) => {
                if keys.is_empty() {
                    let mistake = self.mistakes.error(at.key("keys"), "token.keys is empty");
                    mistake.help("leave it out for a key of this proxy's own, in server.state_dir");
                }
                keys.iter().map(|key| key.0.clone()).collect()
            }
            (None, Some(path)) => self.keys_of_file(&self.directory.join(&path.0), at),
            (Some(_), Some(_)) => {
                let title = "token.keys and token.keys_file exclude each other";
                let mistake = self.mistakes.error(at.key("keys_file").name(), title);
                mistake.with(at.key("keys").name(), "see here").help("leave one of them out");
                Vec::new()
            }
        }
    }

    fn keys_of_file(&mut self, path: &std::path::Path, at: At<'_>) -> Vec<Key> {
        let at = at.key("keys_file");
        let text = match load::read(path) {
            // Lines that are not UTF-8 are no keys.
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let title = "token.keys_file: the file cannot be read";
                self.mistakes.error(at, title).label(error.to_string());
                return Vec::new();
            }
        };
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Key::parse(line) {
                Ok(key) => keys.push(key),
                Err(_) => {
                    let title = format!("token.keys_file: line {number} of the file is not a key");
                    let label = format!("expected {}", Key::EXPECTED);
                    self.mistakes.error(at, title).label(label);
                }
            }
        }
        if keys.is_empty() {
            let mistake = self.mistakes.error(at, "token.keys_file: the file holds no key");
            mistake.label(format!("expected {} on a line", Key::EXPECTED));
        }
        keys
    }
}

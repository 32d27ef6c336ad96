//! `[pools.NAME.health]`.

use http::StatusCode;

use super::Resolver;
use crate::balance::health::Thresholds;
use crate::config::at::At;
use crate::config::file::{self, Initial};
use crate::config::{BackendHttp2, HealthCheck, HttpProbe, Probe, Transport};

impl Resolver<'_> {
    pub(super) fn health(
        &mut self,
        file: &file::Health,
        transport: &Transport,
        at: At<'_>,
    ) -> HealthCheck {
        let interval = self.positive(&file.interval, at.key("interval"));
        let fast_interval = self.positive(&file.fast_interval, at.key("fast_interval"));
        if fast_interval > interval && at.key("fast_interval").exists() {
            let title = format!("{}: fast_interval is longer than interval", at.path());
            let help = format!("interval is {}", self.in_words(at.key("interval"), interval));
            let mistake = self.mistakes.error(at.key("fast_interval"), title);
            mistake.label("this would be the slower one").help(help);
            mistake.depends_on(at.key("interval"));
        }
        HealthCheck {
            probe: self.probe(file, transport, at),
            interval,
            fast_interval: fast_interval.min(interval),
            jitter: file.jitter.0.0,
            timeout: self.positive(&file.timeout, at.key("timeout")),
            thresholds: Thresholds { rise: file.rise, fall: file.fall },
            assumed_up: file.initial == Initial::Up,
            port: file.port,
            transport: transport.clone(),
        }
    }

    fn probe(&mut self, file: &file::Health, transport: &Transport, at: At<'_>) -> Probe {
        if let Some(grpc) = &file.grpc {
            for key in ["path", "host", "expect", "body", "drain_status", "drain_header"] {
                let help = "leave out this, or grpc";
                self.useless(
                    at.key(key),
                    "a check by gRPC has none of these",
                    help,
                    at.key("grpc"),
                );
            }
            if transport.http2 == BackendHttp2::No {
                let title = format!("{} needs HTTP/2", at.key("grpc").path());
                let mistake = self.mistakes.error(at.key("grpc").name(), title);
                mistake.label("this pool speaks HTTP/1.1").help("write http2 = true for the pool");
            }
            return Probe::Grpc(grpc.service.clone());
        }
        let Some(path) = &file.path else {
            for key in ["host", "expect", "body", "drain_status", "drain_header"] {
                let help =
                    "add a path to check by HTTP, or remove this to check by connecting only";
                self.useless(at.key(key), "only a check by HTTP has this", help, at.key("path"));
            }
            return Probe::Tcp;
        };
        let expect = match &file.expect {
            None => vec![(200, 399)],
            Some(ranges) => {
                self.not_empty(ranges, at.key("expect"), "leave it out for 200 to 399");
                ranges.iter().map(|range| (range.0.0, range.0.1)).collect()
            }
        };
        if let Some(status) = file.drain_status
            && expect.iter().any(|&(first, last)| (first..=last).contains(&status))
        {
            let title = format!("{}: drain_status is one of the expected statuses", at.path());
            let mistake = self.mistakes.warning(at.key("drain_status"), title);
            mistake.label("a backend that answers with this is drained");
            mistake.help("take it out of expect if that is meant, or choose another status");
            mistake.depends_on(at.key("expect"));
        }
        Probe::Http(HttpProbe {
            path: path.0.0.clone(),
            host: file.host.as_ref().map(|host| host.0.0.clone()),
            expect,
            body: file.body.clone(),
            // The schema has seen to the range.
            drain_status: file.drain_status.and_then(|status| StatusCode::from_u16(status).ok()),
            drain_header: file.drain_header.as_ref().map(|name| name.0.clone()),
        })
    }
}

//! `[pools.NAME]`.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use super::Resolver;
use crate::balance::outlier::Ejection;
use crate::balance::queue::QueueSpec;
use crate::balance::{BackendSpec, DrainPolicy, PoolSpec};
use crate::config::at::At;
use crate::config::file::{self, Eject, ForwardHost, HostChoice};
use crate::config::{
    BackendHttp2, BackendTimeouts, Forward, ForwardStyle, HostPolicy, Pool, Retry,
};

impl Resolver<'_> {
    /// The pools, in the order of the file; `at` is the root.
    pub(super) fn pools(&mut self, file: &BTreeMap<String, file::Pool>, at: At<'_>) -> Vec<Pool> {
        let at = at.key("pools");
        if file.is_empty() {
            let mistake = self.mistakes.error(at, "no pool: requests have nowhere to go");
            mistake.help(
                "write\n[[pools.app.backends]]\nname = \"app-1\"\naddress = \"127.0.0.1:3000\"",
            );
        }
        let mut pools: Vec<_> =
            file.iter().map(|(name, pool)| (at.key(name), name, pool)).collect();
        pools.sort_by_key(|(at, ..)| at.name().span.map(|span| span.start));
        pools.into_iter().map(|(at, name, pool)| self.pool(name, pool, at)).collect()
    }

    fn pool(&mut self, name: &str, file: &file::Pool, at: At<'_>) -> Pool {
        let transport = self.transport(file, at);
        let affinity = self.affinity(name, &file.affinity, at.key("affinity"));
        Pool {
            spec: PoolSpec {
                name: name.into(),
                balance: file.balance.into(),
                affinity: affinity.spec,
                ejection: self.ejection(&file.eject, at.key("eject")),
                queue: QueueSpec {
                    length: file.queue.length,
                    timeout: self.positive(&file.queue.timeout, at.key("queue").key("timeout")),
                },
                slow_start: file
                    .slow_start
                    .as_ref()
                    .map(|duration| self.positive(duration, at.key("slow_start"))),
                measures_cost: file.measure_cost,
                drain: self.drain(&file.drain, at.key("drain")),
                backends: self.backends(&file.backends, file.discover.is_empty(), at),
            },
            key: affinity.key,
            cookie: affinity.cookie,
            forward: forward(&file.forward),
            transport: transport.clone(),
            timeouts: self.backend_timeouts(&file.timeouts, at.key("timeouts")),
            max_idle_connections: usize::try_from(file.max_idle_connections).unwrap_or(usize::MAX),
            attempts: usize::try_from(file.attempts).unwrap_or(usize::MAX),
            compression: file
                .compression
                .as_ref()
                .and_then(|compression| self.compression(compression, at.key("compression"))),
            discover: self.discover(&file.discover, at.key("discover")),
            retry: self.retry(&file.retry, transport.http2, at),
            health: file
                .health
                .as_ref()
                .map(|health| self.health(health, &transport, at.key("health"))),
        }
    }

    fn backends(
        &mut self,
        file: &[file::Backend],
        are_all: bool,
        at_pool: At<'_>,
    ) -> Vec<BackendSpec> {
        let at = at_pool.key("backends");
        if file.is_empty() && are_all {
            let title = format!("{}: no backends", at_pool.path());
            let mistake = self.mistakes.error(at, title);
            mistake.label("requests would have nowhere to go");
            mistake.help(format!(
                "write\n[[{}.backends]]\nname = \"app-1\"\naddress = \"127.0.0.1:3000\"",
                at_pool.path()
            ));
        } else if are_all && file.iter().all(|backend| backend.weight == 0) {
            let title = format!("{}: every backend has weight 0", at_pool.path());
            let mistake = self.mistakes.error(at, title);
            mistake.label("no new session could go anywhere");
            mistake.help("leave weight out of at least one: it is 1 then");
        }
        self.distinct_names(at);
        let backends = file.iter().enumerate().map(|(i, backend)| BackendSpec {
            name: backend.name.0.0.clone(),
            incarnation: backend.incarnation.as_ref().map(|incarnation| incarnation.0.0.clone()),
            address: backend.address.0.clone(),
            weight: backend.weight,
            priority: self.priority(backend, at.index(i)),
            max_connections: backend.max_connections,
        });
        backends.collect()
    }

    fn priority(&mut self, file: &file::Backend, at: At<'_>) -> u32 {
        if let (Some(_), true) = (file.priority, file.backup) {
            let title = format!("{} and backup exclude each other", at.key("priority").path());
            let mistake = self.mistakes.error(at.key("priority").name(), title);
            mistake.with(at.key("backup").name(), "see here");
            mistake.help("leave one of them out: backup = true is priority = 1");
        }
        file.priority.unwrap_or(u32::from(file.backup))
    }

    /// Looks at those that were refused for their address, too.
    fn distinct_names(&mut self, at: At<'_>) {
        let mut seen: HashMap<&str, At<'_>> = HashMap::new();
        for at_name in at.all_items().into_iter().map(|backend| backend.key("name")) {
            let Some(name) = at_name.text() else { continue };
            if let Some(first) = seen.insert(name, at_name) {
                let title = format!("two backends are named {}", self.written(at_name));
                let mistake = self.mistakes.error(at_name, title);
                mistake.label("this name is taken").with(first, "by this one");
                mistake.help("sessions are bound to names, so each backend needs its own");
            }
        }
    }

    fn ejection(&mut self, file: &Eject, at: At<'_>) -> Option<Ejection> {
        let default = file::Ejection::default();
        let file = match file {
            Eject::Switch(false) => return None,
            Eject::Switch(true) => &default,
            Eject::Table(file) => file,
        };
        Some(Ejection {
            failures: file.connect_failures,
            duration: self.positive(&file.duration, at.key("duration")),
        })
    }

    fn retry(&mut self, file: &file::Retry, http2: BackendHttp2, at: At<'_>) -> Option<Retry> {
        let statuses = file.grpc_status.as_deref().unwrap_or_default();
        if http2 == BackendHttp2::No {
            let at_status = at.key("retry").key("grpc_status");
            let help = "write http2 = true, or leave this out";
            self.useless(at_status, "gRPC needs HTTP/2", help, at.key("http2"));
        }
        (!statuses.is_empty()).then(|| Retry {
            grpc_status: statuses.iter().map(|status| status.code()).collect(),
            budget: file.budget.0.0,
        })
    }

    fn drain(&mut self, file: &file::Drain, at: At<'_>) -> DrainPolicy {
        let mut positive = |key, duration: &Option<_>| {
            duration.as_ref().map(|duration| self.positive(duration, at.key(key)))
        };
        DrainPolicy {
            deadline: positive("deadline", &file.deadline),
            move_idle_after: positive("move_idle_after", &file.move_idle_after),
            moves_per_second: file.moves_per_second.and_then(NonZeroU32::new),
        }
    }

    fn backend_timeouts(&mut self, file: &file::BackendTimeouts, at: At<'_>) -> BackendTimeouts {
        BackendTimeouts {
            connect: self.positive(&file.connect, at.key("connect")),
            response_header: self.positive(&file.response_header, at.key("response_header")),
            response_body: self.positive(&file.response_body, at.key("response_body")),
            idle: self.positive(&file.idle, at.key("idle")),
            tunnel: self.positive(&file.tunnel, at.key("tunnel")),
        }
    }
}

fn forward(file: &file::Forward) -> Forward {
    Forward {
        style: match file.style {
            file::ForwardStyle::XForwarded => ForwardStyle::XForwarded,
            file::ForwardStyle::Forwarded => ForwardStyle::Forwarded,
            file::ForwardStyle::Both => ForwardStyle::Both,
            file::ForwardStyle::Off => ForwardStyle::Off,
        },
        host: match &file.host {
            ForwardHost::Choice(HostChoice::Client) => HostPolicy::Client,
            ForwardHost::Choice(HostChoice::Backend) => HostPolicy::Backend,
            ForwardHost::Fixed(host) => HostPolicy::Fixed(host.0.0.clone()),
        },
    }
}

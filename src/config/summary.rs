//! The resolved configuration as a text for people: what `stickler check` prints.
//!
//! It holds nothing that may be a secret: neither token keys, nor the values that header fields are
//! compared with, nor the query and the expected body of a health check.

mod handling;
mod routes;

use std::fmt;
use std::time::Duration;

use super::leaf::{Leaf, Share, Size, StatusRange};
use super::{
    AccessLog, AccessLogFormat, AccessLogPath, Admin, BackendHttp2, BackendTimeouts,
    ClientTimeouts, Config, Cookie, Discover, DiscoverSource, Family, Forward, ForwardStyle,
    HealthCheck, HostPolicy, Http2, KeySource, Limits, LinesKept, Listener, ListenerTls, Lookup,
    Pool, Probe, SameSite, Secure, Server, Transport,
};
use crate::balance::affinity::{
    AffinitySpec, Establish, Mode, Overload, Rebalance, WhenUnavailable,
};
use crate::balance::outlier::Ejection;
use crate::balance::{BackendSpec, DrainPolicy, PoolSpec};
use crate::proxy_protocol;
use crate::tls::IncomingSpec;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "server", server(&self.server))?;
        section(f, "\nadmin", admin(&self.admin))?;
        section(f, "\nlisteners", self.listeners.iter().map(listener).collect())?;
        section(f, "\nroutes, in order of precedence", routes::rows(&self.routes, &self.pools))?;
        self.pools.iter().try_for_each(|p| section(f, &format!("\npool {}", p.spec.name), pool(p)))
    }
}

fn section<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    rows: Vec<[String; N]>,
) -> fmt::Result {
    writeln!(f, "{title}")?;
    columns(&rows).try_for_each(|line| writeln!(f, "  {line}"))
}

/// Rows of cells as lines, aligned.
fn columns<const N: usize>(rows: &[[String; N]]) -> impl Iterator<Item = String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().map(move |row| {
        let cells = row.iter().zip(widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:width$}  ")).collect();
        line.trim_end().to_owned()
    })
}

fn server(server: &Server) -> Vec<[String; 2]> {
    let keys = match server.token_keys.len() {
        0 => "one of this proxy's own, kept in the state directory".into(),
        1 => "1 given".into(),
        n => format!("{n} given, the first seals"),
    };
    let shutdown = server.shutdown_timeout.show();
    let names = match server.underscores_in_headers {
        true => "underscores pass",
        false => "those with underscores are removed",
    };
    let format = if server.log.json { "JSON" } else { "text" };
    let mut rows = vec![
        row("workers", server.workers.to_string()),
        row("shutdown", format!("requests in flight get {shutdown}")),
        row("state", server.state_dir.display().to_string()),
        row("token keys", keys),
        row("log", format!("{} as {format}", server.log.filter)),
        row("access log", server.access_log.as_ref().map_or_else(|| "none".into(), access_log)),
        row("ids", ids(server)),
        row("timeouts", client_timeouts(&server.timeouts)),
        row("limits", limits(&server.limits)),
        row("http/2", http2(&server.http2)),
        row("field names", names.into()),
    ];
    rows.extend(handling::pages(&server.error_pages).map(|pages| row("errors", pages)));
    rows
}

fn admin(admin: &Admin) -> Vec<[String; 2]> {
    let Some(address) = admin.address else { return vec![row("address", "off".into())] };
    let who = match (&admin.token, address.ip().is_loopback()) {
        (Some(_), true) => "for programs on this machine that know the token",
        (Some(_), false) if admin.tls.is_none() => "for everybody who knows the token; without TLS",
        (Some(_), false) => "for everybody who knows the token",
        (None, _) => "for every program on this machine",
    };
    let address = match admin.is_given {
        true => address.to_string(),
        false => format!("{address} if it is free"),
    };
    let hosts = admin.allowed_hosts.iter().map(Leaf::show).collect::<Vec<_>>().join(", ");
    let mut rows = vec![row("address", format!("{address}, {who}"))];
    let pair = admin.tls.as_ref().and_then(|tls| tls.certificates.first());
    rows.extend(pair.map(|pair| row("TLS", format!("certificate {}", pair.cert.display()))));
    rows.extend((!hosts.is_empty()).then(|| row("hosts", hosts)));
    rows
}

fn access_log(log: &AccessLog) -> String {
    let path = match &log.path {
        AccessLogPath::Stdout => "standard output".into(),
        AccessLogPath::Stderr => "standard error".into(),
        AccessLogPath::File(path) => path.display().to_string(),
    };
    let format = match log.format {
        AccessLogFormat::Json => "JSON",
        AccessLogFormat::Combined => "combined",
        AccessLogFormat::Extended => "extended",
    };
    let lines = match log.lines {
        LinesKept::All => "all requests",
        LinesKept::Notable => "notable requests",
    };
    let query = if log.query { "" } else { ", without queries" };
    format!("{lines} to {path} as {format}{query}")
}

fn ids(server: &Server) -> String {
    let traces = if server.starts_traces { "traces are started" } else { "traces are passed on" };
    match &server.request_id_header {
        Some(name) => format!("requests have one in {name}; {traces}"),
        None => format!("backends are not told; {traces}"),
    }
}

fn row(name: &str, value: String) -> [String; 2] {
    [name.into(), value]
}

fn client_timeouts(timeouts: &ClientTimeouts) -> String {
    patience(&[
        ("request header", timeouts.request_header),
        ("request body", timeouts.request_body),
        ("response write", timeouts.response_write),
        ("idle", timeouts.idle),
    ])
}

fn patience(timeouts: &[(&str, Duration)]) -> String {
    let shown = timeouts.iter().map(|(name, timeout)| format!("{name} {}", timeout.show()));
    shown.collect::<Vec<_>>().join(", ")
}

fn limits(limits: &Limits) -> String {
    let size = |bytes: u64| Size(bytes).show();
    let unlimited = |n: u64, shown: String| if n == u64::MAX { "unlimited".into() } else { shown };
    let requests = limits.requests_per_connection;
    let rate = match limits.min_rate {
        0 => "off".into(),
        rate => format!("{}/s", size(rate.into())),
    };
    format!(
        "header {} in {} fields, target {}, body {}, buffered {}, slowest body {rate}, \
         requests per connection {}",
        size(limits.header_bytes as u64),
        limits.header_count,
        size(limits.uri_length as u64),
        unlimited(limits.body_bytes, size(limits.body_bytes)),
        size(limits.request_buffer as u64),
        unlimited(requests, requests.to_string()),
    )
}

fn http2(http2: &Http2) -> String {
    let size = |bytes: u32| Size(bytes.into()).show();
    format!(
        "{} streams on a connection, windows of {} and {}",
        http2.max_concurrent_streams,
        size(http2.stream_window),
        size(http2.connection_window)
    )
}

fn listener(listener: &Listener) -> [String; 3] {
    let trusted: Vec<_> = listener.trusted_proxies.iter().map(Leaf::show).collect();
    let mut about = Vec::new();
    about.extend(listener.proxy_protocol.as_ref().map(|protocol| {
        let from: Vec<_> = protocol.from.iter().map(Leaf::show).collect();
        let timeout = protocol.timeout.show();
        format!("PROXY protocol from {} within {timeout}", from.join(", "))
    }));
    about.extend(listener.tls.as_ref().map(tls));
    about.extend(listener.http2.then(|| "HTTP/2".to_owned()));
    about
        .extend(listener.redirect_to_https.map(|port| format!("sends clients to HTTPS on {port}")));
    about.extend((!trusted.is_empty()).then(|| {
        let family = match listener.forwarded {
            Family::XForwarded => "X-Forwarded-*",
            Family::Forwarded => "Forwarded",
        };
        format!("trusts {family} of {}", trusted.join(", "))
    }));
    [
        listener.address.to_string(),
        format!("at most {} connections", listener.max_connections),
        about.join("; "),
    ]
}

fn tls(tls: &ListenerTls) -> String {
    let IncomingSpec { certificates, min_version, client_auth, acme, .. } = &tls.incoming;
    let files = certificates.iter().map(|pair| pair.cert.display().to_string());
    let of_acme = acme.as_ref().map(|acme| {
        let (domains, how) = (acme.domains.join(", "), acme.challenge.as_str());
        format!("a certificate for {domains} from {} by {how}", acme.directory)
    });
    let shown: Vec<_> = files.chain(of_acme).collect();
    let mut about =
        vec![format!("TLS {} or later with {}", min_version.as_str(), shown.join(", "))];
    about.extend(client_auth.as_ref().map(|auth| {
        let whose = if auth.required { "with a certificate" } else { "perhaps with a certificate" };
        format!("clients {whose} of {}", auth.ca.display())
    }));
    about.extend(tls.subject_header.as_ref().map(|name| format!("their subject in {name}")));
    about.extend(tls.hsts.as_ref().map(|hsts| {
        format!("Strict-Transport-Security {}", String::from_utf8_lossy(hsts.as_bytes()))
    }));
    about.push(format!(
        "handshakes within {}, {} at once",
        tls.handshake_timeout.show(),
        tls.max_handshakes
    ));
    about.join(", ")
}

fn pool(pool: &Pool) -> Vec<[String; 2]> {
    let tries = match pool.attempts {
        1 => "1 attempt".into(),
        n => format!("up to {n} attempts"),
    };
    let idle = pool.max_idle_connections;
    let mut rows = vec![
        row("balance", format!("{}, {tries}", pool.spec.balance.as_str())),
        row("affinity", affinity(pool)),
        row("forward", forward(&pool.forward)),
        row("transport", transport(&pool.transport)),
        row("timeouts", backend_timeouts(&pool.timeouts)),
        row("idle", format!("up to {idle} connections per worker and backend")),
        row("queue", queue(&pool.spec)),
        row("drain", drain(&pool.spec.drain)),
        row("eject", eject(pool.spec.ejection)),
        row("cost", cost(pool.spec.measures_cost).into()),
        row("health", pool.health.as_ref().map_or("no checks".into(), health)),
    ];
    rows.extend(pool.retry.as_ref().map(|retry| {
        let statuses: Vec<_> = retry.grpc_status.iter().map(u8::to_string).collect();
        let share = Share(retry.budget).show();
        row("retry", format!("gRPC status {}, up to {share} of calls", statuses.join(", ")))
    }));
    if let Some(duration) = pool.spec.slow_start {
        rows.insert(1, row("slow start", format!("over {}", duration.show())));
    }
    if let Some(settings) = &pool.compression {
        let at = rows.iter().position(|[name, _]| name == "queue").unwrap_or_default();
        rows.insert(at, row("compressed", handling::compressed(settings)));
    }
    if pool.spec.affinity.mode == Mode::Cookie {
        let at = rows.iter().position(|[name, _]| name == "forward").unwrap_or_default();
        rows.splice(at..at, begin(&pool.spec.affinity).map(|text| row("sessions", text)));
    }
    if let Some(unstick) = pool.spec.affinity.unstick {
        let at = rows.iter().position(|[name, _]| name == "forward").unwrap_or_default();
        let percent = unstick.percent();
        rows.insert(at, row("unstick", format!("{percent} % of the sessions are routed freely")));
    }
    if pool.spec.affinity.mode != Mode::None {
        let at = rows.iter().position(|[name, _]| name == "forward").unwrap_or_default();
        rows.insert(at, row("sessions", sessions(&pool.spec.affinity)));
    }
    rows.extend(pool.discover.iter().map(|discover| row("discover", discovered(discover))));
    let backends: Vec<_> = pool.spec.backends.iter().map(backend).collect();
    rows.extend(columns(&backends).map(|line| row("backend", line)));
    rows
}

fn transport(transport: &Transport) -> String {
    let mut about = Vec::new();
    about.extend(transport.proxy_protocol.map(|version| match version {
        proxy_protocol::Version::V1 => "PROXY protocol version 1".to_owned(),
        proxy_protocol::Version::V2 => "PROXY protocol version 2".to_owned(),
    }));
    about.push(match &transport.tls {
        None => "no TLS".into(),
        Some(tls) => {
            let ca = tls.ca.as_ref().map(|ca| ca.display().to_string());
            let ca = ca.unwrap_or_else(|| "the system's authorities".into());
            let name = tls.server_name.as_deref().unwrap_or("each backend's own");
            let whom = match tls.believes_anybody {
                true => "BELIEVING ANYBODY".into(),
                false => format!("verified by {ca}, name {name}"),
            };
            let shown = tls.certificate.as_ref();
            let shown = shown.map(|pair| format!(", showing {}", pair.cert.display()));
            let min_version = tls.min_version.as_str();
            format!("TLS {min_version} or later, {whom}{}", shown.unwrap_or_default())
        }
    });
    about.push(match transport.http2 {
        BackendHttp2::No => "HTTP/1.1".into(),
        BackendHttp2::Yes => "HTTP/2".into(),
        BackendHttp2::Auto => "HTTP/2 or HTTP/1.1, as each backend chooses".into(),
    });
    about.join(", ")
}

fn backend(backend: &BackendSpec) -> [String; 3] {
    let mut about = vec![format!("weight {}", backend.weight)];
    about.extend(backend.max_connections.map(|n| format!("at most {n} requests in flight")));
    about.extend((backend.priority > 0).then(|| format!("priority {}", backend.priority)));
    about.extend(backend.incarnation.as_ref().map(|name| format!("incarnation {name}")));
    [backend.name.clone(), backend.address.to_string(), about.join(", ")]
}

fn queue(spec: &PoolSpec) -> String {
    format!("up to {} requests wait up to {}", spec.queue.length, spec.queue.timeout.show())
}

fn backend_timeouts(timeouts: &BackendTimeouts) -> String {
    patience(&[
        ("connect", timeouts.connect),
        ("response header", timeouts.response_header),
        ("response body", timeouts.response_body),
        ("idle", timeouts.idle),
        ("tunnel", timeouts.tunnel),
    ])
}

fn drain(policy: &DrainPolicy) -> String {
    let pauses = policy.move_idle_after.map(|pause| format!("after a pause of {}", pause.show()));
    let rate = policy.moves_per_second.map_or(String::new(), |n| format!(", {n} a second"));
    let rest = policy.deadline.map(|deadline| format!("all after {}{rate}", deadline.show()));
    let moves: Vec<_> = pauses.into_iter().chain(rest).collect();
    match moves.is_empty() {
        true => "sessions stay until they end".into(),
        false => format!("sessions move {}", moves.join(", ")),
    }
}

fn eject(ejection: Option<Ejection>) -> String {
    match ejection {
        None => "never".into(),
        Some(Ejection { failures, duration }) => {
            format!("for {} after {failures} failures to connect", duration.show())
        }
    }
}

fn cost(is_measured: bool) -> &'static str {
    match is_measured {
        true => "of stickiness is measured",
        false => "of stickiness is not measured",
    }
}

fn affinity(pool: &Pool) -> String {
    match pool.spec.affinity.mode {
        Mode::None => "none".into(),
        Mode::Cookie => cookie(&pool.cookie),
        Mode::Hash(algorithm) => {
            let load = pool.spec.affinity.max_load;
            let bound = load.map_or(String::new(), |factor| {
                format!(", load up to {factor} times the fair share")
            });
            format!("{} of {}{bound}", algorithm.as_str(), key(&pool.key))
        }
    }
}

fn sessions(spec: &AffinitySpec) -> String {
    let (idle, absolute) = (spec.idle_timeout.show(), spec.absolute_timeout.show());
    let away = match spec.when_unavailable {
        WhenUnavailable::Wait { up_to, then } => {
            format!("wait {} and then {}", up_to.show(), then.as_str())
        }
        other => other.as_str().into(),
    };
    let overload = spec.overload.map_or(String::new(), |Overload { factor, action }| {
        format!("{} above {factor} times the fair share, ", action.as_str())
    });
    format!(
        "end after {idle} idle or {absolute} in all, {away} when home is unavailable, {overload}\
         {} counted at most",
        spec.max_sessions
    )
}

/// How sessions begin, and whether they move for evenness, if that is not as usual.
fn begin(spec: &AffinitySpec) -> Option<String> {
    let on_demand = spec.establish == Establish::OnDemand;
    let on_demand = on_demand.then(|| "begin when the app says so".into());
    let coalesce = spec.coalesce.map(|window| {
        format!("begin together for first requests of a client within {}", window.show())
    });
    let rebalance = spec.rebalance.map(|Rebalance { moves_per_second, margin, idle_for }| {
        format!(
            "move after a pause of {} from backends above {:.0}% of the fair share, \
             {moves_per_second} a second",
            idle_for.show(),
            (1.0 + margin) * 100.0
        )
    });
    let parts: Vec<String> = [on_demand, coalesce, rebalance].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn key(key: &KeySource) -> String {
    match key {
        KeySource::SourceAddress => "the source address".into(),
        KeySource::Path => "the path".into(),
        KeySource::Header(name) => format!("header {name}"),
        KeySource::Cookie(name) => format!("cookie {name}"),
        KeySource::Query(name) => format!("query parameter {name}"),
    }
}

fn cookie(cookie: &Cookie) -> String {
    let mut parts = vec![format!("cookie {}", cookie.name), format!("Path={}", cookie.path)];
    parts.extend(cookie.domain.as_ref().map(|domain| format!("Domain={domain}")));
    parts.extend(cookie.max_age.map(|age| format!("Max-Age of {}", age.show())));
    match cookie.secure {
        Secure::Auto => parts.push("Secure over TLS".into()),
        Secure::Always => parts.push("Secure".into()),
        Secure::Never => {}
    }
    parts.extend(cookie.http_only.then(|| "HttpOnly".into()));
    match cookie.same_site {
        SameSite::Strict => parts.push("SameSite=Strict".into()),
        SameSite::Lax => parts.push("SameSite=Lax".into()),
        SameSite::None => parts.push("SameSite=None".into()),
        SameSite::Unset => {}
    }
    parts.extend(cookie.partitioned.then(|| "Partitioned".into()));
    parts.join(" ")
}

fn forward(forward: &Forward) -> String {
    let fields = match forward.style {
        ForwardStyle::XForwarded => "X-Forwarded-*",
        ForwardStyle::Forwarded => "Forwarded",
        ForwardStyle::Both => "Forwarded and X-Forwarded-*",
        ForwardStyle::Off => "nothing about the client",
    };
    let host = match &forward.host {
        HostPolicy::Client => "the client's Host".into(),
        HostPolicy::Backend => "the backend's address as Host".into(),
        HostPolicy::Fixed(host) => format!("Host {}", String::from_utf8_lossy(host.as_bytes())),
    };
    format!("{fields}, {host}")
}

fn health(health: &HealthCheck) -> String {
    let port = health.port.map_or(String::new(), |port| format!(" on port {port}"));
    let probe = match &health.probe {
        Probe::Tcp => format!("connect{port}"),
        Probe::Grpc(service) if service.is_empty() => format!("gRPC health{port}"),
        Probe::Grpc(service) => format!("gRPC health of {service}{port}"),
        Probe::Http(probe) => {
            let expect = probe.expect.iter().map(|&(first, last)| StatusRange(first, last).show());
            let expect = expect.collect::<Vec<_>>().join(", ");
            let body = if probe.body.is_some() { " and a certain body" } else { "" };
            let path = match probe.path.split_once('?') {
                Some((path, _)) => format!("{path}?..."),
                None => probe.path.clone(),
            };
            format!("GET {path}{port} for {expect}{body}")
        }
    };
    let (interval, fast) = (health.interval.show(), health.fast_interval.show());
    format!(
        "{probe} every {interval}, {fast} when in doubt, within {}; up after {}, down after {}, \
         at first {}",
        health.timeout.show(),
        health.thresholds.rise,
        health.thresholds.fall,
        if health.assumed_up { "up" } else { "down" }
    )
}

fn discovered(discover: &Discover) -> String {
    let lookup = |lookup: &Lookup| {
        let Lookup { nameserver, min_interval, max_interval } = lookup;
        let of = nameserver.map(|address| format!(" of {address}")).unwrap_or_default();
        format!("{of}, looked up every {} to {}", min_interval.show(), max_interval.show())
    };
    let least = discover.min_members;
    let named = discover.name.as_ref().map(|name| format!(", named {}", name.show()));
    let named = named.unwrap_or_default();
    match &discover.source {
        DiscoverSource::Dns { host, port, lookup: how } => {
            format!("addresses of {host}, port {port}{}{named}, at least {least}", lookup(how))
        }
        DiscoverSource::Srv { name, lookup: how } => {
            format!("targets of {name}{}{named}, at least {least}", lookup(how))
        }
        DiscoverSource::File(path) => format!("in {}, at least {least}", path.display()),
    }
}

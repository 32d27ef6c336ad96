//! Pingora's load-balancer example with the work that `benches/peers/run` compares: forwarding
//! fields and, with affinity, a cookie that names the backend. Health checks and TLS are left out,
//! since no other contestant has them.
//!
//!     pingora-peer 8080 affinity 127.0.0.1:9001 127.0.0.1:9002

use std::env;

use async_trait::async_trait;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Session, http_proxy_service};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

const COOKIE: &str = "srv=";

struct Balancer {
    backends: LoadBalancer<RoundRobin>,
    /// What the cookie says for each, if there is a cookie at all.
    named: Option<Vec<SocketAddr>>,
}

/// What is known of a request once it is placed.
#[derive(Default)]
struct Placed {
    client: String,
    /// The client's cookies without ours, if it sent ours.
    other_cookies: Option<String>,
    /// The backend that a new cookie names.
    new: Option<usize>,
}

impl Balancer {
    /// The backend that the client's cookie names, and its other cookies.
    fn bound(&self, session: &Session) -> Option<(SocketAddr, String)> {
        let named = self.named.as_ref()?;
        let cookies = session.req_header().headers.get("cookie")?.to_str().ok()?;
        let (ours, others): (Vec<_>, Vec<_>) =
            cookies.split("; ").partition(|cookie| cookie.starts_with(COOKIE));
        let number: usize = ours.first()?[COOKIE.len()..].parse().ok()?;
        Some((named.get(number)?.clone(), others.join("; ")))
    }
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Placed;

    fn new_ctx(&self) -> Placed {
        Placed::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        placed: &mut Placed,
    ) -> Result<Box<HttpPeer>> {
        if let Some(address) = session.client_addr().and_then(SocketAddr::as_inet) {
            placed.client = address.ip().to_string();
        }
        let address = match self.bound(session) {
            Some((address, others)) => {
                placed.other_cookies = Some(others);
                address
            }
            None => {
                let address = self.backends.select(b"", 8).expect("a backend").addr;
                if let Some(named) = &self.named {
                    placed.new = named.iter().position(|one| *one == address);
                }
                address
            }
        };
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        placed: &mut Placed,
    ) -> Result<()> {
        if let Some(others) = &placed.other_cookies {
            request.insert_header("Cookie", others)?;
        }
        request.insert_header("X-Forwarded-For", &placed.client)?;
        request.insert_header("X-Forwarded-Proto", "http")?;
        request.insert_header("Via", "1.1 pingora")
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        placed: &mut Placed,
    ) -> Result<()> {
        match placed.new {
            Some(name) => {
                let cookie = format!("{COOKIE}{name}; Path=/; HttpOnly");
                response.append_header("Set-Cookie", cookie).map(drop)
            }
            None => Ok(()),
        }
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, affinity, addresses @ ..] = arguments.as_slice() else {
        panic!("pingora-peer PORT plain|affinity ADDRESS...");
    };
    let configuration = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let named = (affinity == "affinity")
        .then(|| addresses.iter().map(|each| each.parse().expect("an address")).collect());
    let backends = LoadBalancer::try_from_iter(addresses).expect("addresses");
    let mut proxy = http_proxy_service(&server.configuration, Balancer { backends, named });
    proxy.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(proxy);
    server.run_forever();
}

//! `[admin]`: who may use it, and what it must not share an address with.

use std::path::Path;

use super::Resolver;
use super::listeners::{arrives_at, clash};
use crate::config::at::At;
use crate::config::file;
use crate::config::load;
use crate::config::{Admin, AdminToken, Listener, Pool};

/// Characters that a token has at least: 64 bits, if they are hexadecimal digits by chance.
const SHORTEST_TOKEN: usize = 16;

impl Resolver<'_> {
    /// Where operators look and act; `at` is the root.
    pub(super) fn admin(
        &mut self,
        file: &file::Admin,
        listeners: &[Listener],
        pools: &[Pool],
        at: At<'_>,
    ) -> Admin {
        let root = at;
        let at = at.key("admin");
        let is_given = at.key("address").exists();
        let mut address = file.address.0.0;
        if address.is_none() {
            for key in ["token_file", "tls", "allowed_hosts"] {
                let help = "give an address, or leave it out";
                self.useless(at.key(key), "nothing listens", help, at.key("address"));
            }
        }
        if is_given {
            self.admin_is_alone(address, listeners, pools, root);
        } else {
            // Nobody asked for it: what was asked for goes first.
            address = address.filter(|&address| {
                !listeners.iter().any(|other| clash(other.address, address))
                    && !backends(pools).any(|(backend, ..)| arrives_at(&backend.address, address))
            });
        }
        let token = file.token_file.as_ref().and_then(|path| {
            let path = self.directory.join(&path.0);
            self.admin_token(&path, at.key("token_file"))
        });
        if let Some(address) = address.filter(|address| !address.ip().is_loopback())
            && file.token_file.is_none()
        {
            let title = "admin.address is open to other machines, and there is no admin.token_file";
            let mistake = self.mistakes.error(at.key("address"), title);
            mistake.label("whoever reaches it could take backends out").help(format!(
                "write token_file = \"admin.token\" after\n\
                 (umask 077; openssl rand -hex 32 > admin.token)\n\
                 or let it listen on this machine only: address = \"127.0.0.1:{}\"",
                address.port()
            ));
        }
        let allowed_hosts = file.allowed_hosts.iter().map(|host| host.0.clone()).collect();
        let tls = file.tls.as_ref().map(|pair| self.one_pair(pair, at.key("tls")));
        Admin { address, is_given, token, tls, allowed_hosts }
    }

    fn admin_is_alone(
        &mut self,
        address: Option<std::net::SocketAddr>,
        listeners: &[Listener],
        pools: &[Pool],
        root: At<'_>,
    ) {
        let Some(address) = address else { return };
        let at = root.key("admin").key("address");
        if let Some(other) = listeners.iter().position(|other| clash(other.address, address)) {
            let at_other = root.key("listeners").index(other).key("address");
            let mistake = self.mistakes.error(at, "admin.address is that of a listener");
            mistake.label("this is taken").with(at_other, "by this");
        }
        for (backend, pool, index) in backends(pools) {
            if arrives_at(&backend.address, address) {
                let at_pool = root.key("pools").key(&pool.spec.name).key("backends");
                let at_backend = at_pool.index(index).key("address");
                let title = format!("{} is the admin address of this proxy", at_backend.path());
                let mistake = self.mistakes.error(at_backend, title);
                mistake.label("clients would be operators").with(at, "this address");
            }
        }
    }

    fn admin_token(&mut self, path: &Path, at: At<'_>) -> Option<AdminToken> {
        let text = match load::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let title = "admin.token_file: the file cannot be read";
                self.mistakes.error(at, title).label(error.to_string());
                return None;
            }
        };
        let token = text.trim();
        let title = "admin.token_file: there is no token in the file";
        let why = match token.len() {
            0 => "it is empty".to_owned(),
            _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "a token has no blanks, line ends or special characters".to_owned()
            }
            length if length < SHORTEST_TOKEN => {
                format!("{length} characters are too easily guessed")
            }
            _ => return Some(AdminToken(token.into())),
        };
        let help = format!(
            "make one of {SHORTEST_TOKEN} characters or more: \
             (umask 077; openssl rand -hex 32 > admin.token)"
        );
        self.mistakes.error(at, title).label(why).help(help);
        None
    }
}

fn backends(pools: &[Pool]) -> impl Iterator<Item = (&crate::balance::BackendSpec, &Pool, usize)> {
    pools.iter().flat_map(|pool| {
        pool.spec.backends.iter().enumerate().map(move |(index, backend)| (backend, pool, index))
    })
}

//! `pools` of a route: each its share.

use super::Resolver;
use crate::balance::affinity::Mode;
use crate::config::at::At;
use crate::config::file;
use crate::config::{Action, Pool, Split};

impl Resolver<'_> {
    /// Several pools behind a route.
    pub(super) fn split(
        &mut self,
        file: &[file::Arm],
        route: &file::Route,
        pools: &[Pool],
        at_route: At<'_>,
        root: At<'_>,
    ) -> Action {
        let at = at_route.key("pools");
        for key in ["pool", "redirect"] {
            if at_route.key(key).exists() {
                let title = format!("routes.pools and routes.{key} exclude each other");
                let mistake = self.mistakes.error(at_route.key(key).name(), title);
                mistake.with(at.name(), "see here").help("leave one of them out");
            }
        }
        self.not_empty(file, at, "write pools = [{ name = \"blue\", weight = 95 }, ...]");
        let mut arms: Vec<(usize, u32)> = Vec::new();
        for (i, arm) in file.iter().enumerate() {
            let at_name = at.index(i).key("name");
            let Some(pool) = self.pool_named(&arm.name, pools, at_name, root) else { continue };
            if let Some(other) = arms.iter().position(|(other, _)| *other == pool) {
                let mistake = self.mistakes.error(at_name, "the same pool twice");
                mistake.label("this one again").with(at.index(other).key("name"), "here first");
            }
            arms.push((pool, arm.weight));
        }
        if !file.is_empty() && file.iter().all(|arm| arm.weight == 0) {
            let mistake = self.mistakes.error(at, "every pool has weight 0");
            mistake.label("no new session could go anywhere");
            mistake.help("give at least one of them a weight above 0");
        }
        let name = match &route.name {
            Some(name) => name.0.0.clone(),
            None => {
                let title = "a route with several pools needs a name";
                let mistake = self.mistakes.error(at_route.key("name"), title);
                mistake.label("by what name do operators call it?");
                mistake.help("write name = \"shop\", say");
                mistake.depends_on(at_route.key("name"));
                String::new()
            }
        };
        self.fit_together(&arms, pools, at, root);
        Action::Split(Split { name, arms })
    }

    /// What is one session to one of the pools must be one to all of them.
    fn fit_together(&mut self, arms: &[(usize, u32)], pools: &[Pool], at: At<'_>, root: At<'_>) {
        let arms: Vec<&Pool> = arms.iter().filter_map(|(index, _)| pools.get(*index)).collect();
        let Some((first, others)) = arms.split_first() else { return };
        let at_affinity = |pool: &Pool| root.key("pools").key(&pool.spec.name).key("affinity");
        for pool in others {
            let modes = (pool.spec.affinity.mode, first.spec.affinity.mode);
            let jar = |pool: &Pool| {
                let cookie = &pool.cookie;
                (cookie.name.clone(), cookie.path.clone(), cookie.domain.clone())
            };
            let fits = match modes {
                (Mode::None, Mode::None) => true,
                (Mode::Cookie, Mode::Cookie) => jar(pool) == jar(first),
                (Mode::Hash(_), Mode::Hash(_)) => pool.key == first.key,
                _ => false,
            };
            if !fits {
                let title = format!(
                    "pools `{}` and `{}` know sessions by different things",
                    first.spec.name, pool.spec.name
                );
                let mistake = self.mistakes.error(at, title);
                mistake.label("a session could not keep the pool that it began in");
                mistake.with(at_affinity(pool), "this affinity");
                mistake.with(at_affinity(first), "and this one");
                mistake.help("give them the same mode, and the same cookie or key");
            }
        }
        for pool in &arms {
            let help = "leave it out, or give the pool a route of its own";
            let why = "first requests of a client may begin in different pools of this route";
            if pool.spec.affinity.coalesce.is_some() {
                self.useless(at_affinity(pool).key("coalesce"), why, help, at);
            }
        }
    }

    /// Two routes of one name could not be told apart.
    pub(super) fn names_differ(&mut self, file: &[file::Route], at: At<'_>) {
        let at = at.key("routes");
        for (i, route) in file.iter().enumerate() {
            let Some(name) = &route.name else { continue };
            let is_same = |other: &file::Route| other.name.as_ref() == Some(name);
            if let Some(other) = file[..i].iter().position(is_same) {
                let title = format!("two routes are named {:?}", name.0.0);
                let mistake = self.mistakes.error(at.index(i).key("name"), title);
                mistake.label("this name is taken");
                mistake.with(at.index(other).key("name"), "by this one");
            }
        }
    }
}

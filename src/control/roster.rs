//! Who is to be a member of a pool, by who says so: the configuration file, discovery, or an
//! operator. Values in, values out.
//!
//! Nobody takes away what another one says: a backend that an operator added stays through
//! reloads; a weight that an operator set stays until the file itself says another one than it
//! did then; a backend that an operator removed comes back with the next reload that still lists
//! it.

use std::collections::{BTreeMap, BTreeSet};

use crate::balance::BackendSpec;
use crate::config::Discover;

/// A pool's members, as they are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    /// In the configuration file.
    file: Vec<BackendSpec>,
    /// Found by discovery, by source.
    sources: Vec<(Discover, Vec<BackendSpec>)>,
    /// Added by an operator.
    added: Vec<BackendSpec>,
    /// Removed by an operator, until the next reload.
    removed: BTreeSet<String>,
    /// Set by an operator.
    weights: BTreeMap<String, WeightSet>,
    /// No longer wanted by anybody, but with sessions that are still bound to them.
    leaving: Vec<BackendSpec>,
    /// The members now.
    members: Vec<BackendSpec>,
}

/// What a roster makes of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// The members, each with its weight.
    pub(super) members: Vec<BackendSpec>,
    /// By name, those among them that are leaving.
    pub(super) leaving: BTreeSet<String>,
    /// By name, those that were leaving before.
    pub(super) was_leaving: BTreeSet<String>,
    /// Those that were leaving and stay after all.
    pub(super) back: BTreeSet<String>,
}

/// A weight that an operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct WeightSet {
    pub(super) weight: u32,
    /// What the file, or discovery, said then. When it says another thing, that counts.
    pub(super) instead_of: u32,
}

/// Who lists a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File,
    /// Discovery.
    Discovery,
    /// An operator, at run time.
    Operator,
}

impl Origin {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::File => "file",
            Origin::Discovery => "discovery",
            Origin::Operator => "operator",
        }
    }
}

fn position(specs: &[BackendSpec], name: &str) -> Option<usize> {
    specs.iter().position(|spec| spec.name == name)
}

impl Roster {
    /// Of what the file says, and of what an operator said before a restart.
    pub(super) fn new(
        file: Vec<BackendSpec>,
        added: Vec<BackendSpec>,
        weights: BTreeMap<String, WeightSet>,
    ) -> Self {
        let mut roster = Roster { weights, added, ..Roster::default() };
        roster.set_file(file);
        roster
    }

    /// The members from now on: who is listed, and who is not and still has sessions.
    pub(super) fn next(&mut self, is_bound: impl Fn(&str) -> bool) -> Next {
        let unlisted = self.members.iter().filter(|spec| self.origin(&spec.name).is_none());
        let leaving: Vec<_> = unlisted.filter(|spec| is_bound(&spec.name)).cloned().collect();
        let former = std::mem::replace(&mut self.leaving, leaving);
        let names = |specs: &[BackendSpec]| specs.iter().map(|spec| spec.name.clone()).collect();
        let stays = |spec: &&BackendSpec| self.origin(&spec.name).is_some();
        let back = former.iter().filter(stays).map(|spec| spec.name.clone()).collect();
        self.members = self.listed_and_leaving();
        Next {
            members: self.members.clone(),
            leaving: names(&self.leaving),
            was_leaving: names(&former),
            back,
        }
    }

    fn listed_and_leaving(&self) -> Vec<BackendSpec> {
        let mut members: Vec<BackendSpec> = Vec::new();
        let is_wanted = |spec: &&BackendSpec| !self.removed.contains(&spec.name);
        let listed = self.file.iter().chain(self.discovered()).filter(is_wanted);
        for spec in listed.chain(&self.added).chain(&self.leaving) {
            if position(&members, &spec.name).is_none() {
                members.push(self.weighted(spec));
            }
        }
        members
    }

    fn weighted(&self, spec: &BackendSpec) -> BackendSpec {
        let set = self.weights.get(&spec.name).filter(|set| set.instead_of == spec.weight);
        let weight = set.map_or(spec.weight, |set| set.weight);
        BackendSpec { weight, ..spec.clone() }
    }

    /// Who lists it now, if anybody does.
    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        let is_removed = self.removed.contains(name);
        let is_in = |specs: &[BackendSpec]| position(specs, name).is_some();
        match () {
            () if is_in(&self.file) && !is_removed => Some(Origin::File),
            () if self.discovered().any(|spec| spec.name == name) && !is_removed => {
                Some(Origin::Discovery)
            }
            () if is_in(&self.added) => Some(Origin::Operator),
            () => None,
        }
    }

    /// What the file says now. What an operator removed and it still lists is back.
    pub(super) fn set_file(&mut self, specs: Vec<BackendSpec>) {
        self.added.retain(|spec| position(&specs, &spec.name).is_none());
        self.file = specs;
        self.removed.clear();
        self.tidy();
    }

    /// Where backends are found now. What other sources have found is forgotten.
    pub(super) fn set_sources(&mut self, sources: &[Discover]) {
        let mut former = std::mem::take(&mut self.sources);
        for source in sources {
            let known = former.iter().position(|(known, _)| known == source);
            let known = known.map(|i| former.swap_remove(i));
            self.sources.push(known.unwrap_or_else(|| (source.clone(), Vec::new())));
        }
    }

    /// What a source says now. False if that is nothing new.
    pub(super) fn set_discovered(&mut self, source: &Discover, specs: Vec<BackendSpec>) -> bool {
        let Some((_, found)) = self.sources.iter_mut().find(|(known, _)| known == source) else {
            return false;
        };
        if *found == specs {
            return false;
        }
        *found = specs;
        self.tidy();
        true
    }

    fn discovered(&self) -> impl Iterator<Item = &BackendSpec> {
        self.sources.iter().flat_map(|(_, found)| found)
    }

    /// A weight that another one has replaced is no longer set.
    fn tidy(&mut self) {
        let listed: Vec<_> = self.file.iter().chain(self.discovered()).chain(&self.added).collect();
        let weights: BTreeMap<_, _> =
            listed.iter().rev().map(|spec| (spec.name.clone(), spec.weight)).collect();
        let is_same = |name: &String, set: &WeightSet| {
            weights.get(name).is_none_or(|now| *now == set.instead_of)
        };
        self.weights.retain(|name, set| is_same(name, set));
    }

    /// An operator adds one. False if there is one of that name.
    pub(super) fn add(&mut self, spec: BackendSpec) -> bool {
        if self.origin(&spec.name).is_some() {
            return false;
        }
        self.added.push(spec);
        true
    }

    /// An operator removes one. Gives who listed it.
    pub(super) fn remove(&mut self, name: &str) -> Option<Origin> {
        let origin = self.origin(name)?;
        if origin == Origin::Operator {
            self.added.retain(|spec| spec.name != name);
        } else {
            self.removed.insert(name.to_owned());
        }
        self.weights.remove(name);
        Some(origin)
    }

    /// An operator sets a weight. Nothing happens if nobody lists such a backend.
    pub(super) fn set_weight(&mut self, name: &str, weight: u32) {
        let mut listed = self.file.iter().chain(self.discovered()).chain(&self.added);
        let weight_of = listed.find(|spec| spec.name == name).map(|spec| spec.weight);
        drop(listed);
        let Some(instead_of) = weight_of else { return };
        if weight == instead_of {
            self.weights.remove(name);
        } else {
            self.weights.insert(name.to_owned(), WeightSet { weight, instead_of });
        }
    }

    /// Has anybody left who was leaving?
    pub(super) fn has_left(&self, is_bound: impl Fn(&str) -> bool) -> bool {
        self.leaving.iter().any(|spec| !is_bound(&spec.name))
    }

    pub(super) fn added(&self) -> &[BackendSpec] {
        &self.added
    }

    pub(super) fn weights(&self) -> &BTreeMap<String, WeightSet> {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, weight: u32) -> BackendSpec {
        BackendSpec { weight, ..BackendSpec::new(name, "127.0.0.1:1".parse().unwrap()) }
    }

    fn source() -> Discover {
        let source = crate::config::DiscoverSource::File("backends.toml".into());
        Discover { source, name: None, min_members: 1 }
    }

    fn of_file(specs: &[(&str, u32)]) -> Roster {
        let specs = specs.iter().map(|&(name, weight)| spec(name, weight)).collect();
        Roster::new(specs, Vec::new(), BTreeMap::new())
    }

    fn members(roster: &Roster) -> Vec<(String, u32)> {
        roster.listed_and_leaving().into_iter().map(|spec| (spec.name, spec.weight)).collect()
    }

    fn named(members: &[(&str, u32)]) -> Vec<(String, u32)> {
        members.iter().map(|&(name, weight)| (name.to_owned(), weight)).collect()
    }

    #[test]
    fn who_is_in_the_file_is_discovered_or_added_is_a_member_once() {
        let mut roster = of_file(&[("a", 1), ("b", 1)]);
        roster.set_sources(&[source()]);
        assert!(roster.set_discovered(&source(), vec![spec("b", 9), spec("c", 1)]));
        assert!(!roster.set_discovered(&source(), vec![spec("b", 9), spec("c", 1)]), "no news");
        assert!(roster.add(spec("d", 1)) && !roster.add(spec("c", 2)), "c is taken");
        assert_eq!(members(&roster), named(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
        roster.set_file(vec![spec("d", 3)]);
        assert_eq!(members(&roster), named(&[("d", 3), ("b", 9), ("c", 1)]));
        assert_eq!(roster.added(), [], "the file has it now");
    }

    #[test]
    fn an_operators_weight_stays_until_the_file_changes_its_own() {
        let mut roster = of_file(&[("a", 1), ("b", 1)]);
        roster.set_weight("a", 5);
        roster.set_weight("x", 5);
        assert_eq!(members(&roster), named(&[("a", 5), ("b", 1)]));
        roster.set_file(vec![spec("a", 1)]);
        assert_eq!(members(&roster), named(&[("a", 5)]), "the same file");
        roster.set_file(vec![spec("a", 2)]);
        assert_eq!(members(&roster), named(&[("a", 2)]));
        roster.set_file(vec![spec("a", 1)]);
        assert_eq!(members(&roster), named(&[("a", 1)]), "that is over");
    }

    #[test]
    fn who_was_removed_is_back_with_the_next_reload_that_lists_it() {
        let mut roster = of_file(&[("a", 1), ("b", 1)]);
        assert_eq!(roster.remove("a"), Some(Origin::File));
        assert_eq!(roster.remove("a"), None);
        assert_eq!(members(&roster), named(&[("b", 1)]));
        roster.set_sources(&[source()]);
        roster.set_discovered(&source(), vec![spec("a", 1)]);
        assert_eq!(members(&roster), named(&[("b", 1)]));
        roster.set_file(vec![spec("a", 1), spec("b", 1)]);
        assert_eq!(members(&roster), named(&[("a", 1), ("b", 1)]));
    }

    #[test]
    fn who_leaves_is_a_member_until_it_has_left_or_comes_back() {
        let mut roster = of_file(&[("a", 1), ("b", 1), ("c", 3), ("d", 1)]);
        roster.next(|_| true);
        roster.set_file(vec![spec("a", 1)]);
        let next = roster.next(|name| name != "d");
        assert_eq!(members(&roster), named(&[("a", 1), ("b", 1), ("c", 3)]));
        assert_eq!(next.leaving, ["b".to_owned(), "c".to_owned()].into());
        roster.set_file(vec![spec("a", 1), spec("c", 2)]);
        let next = roster.next(|_| false);
        assert_eq!(next.back, ["c".to_owned()].into());
        assert!(!roster.has_left(|_| false), "nobody is leaving");
        assert_eq!(members(&roster), named(&[("a", 1), ("c", 2)]));
        assert!(roster.remove("c").is_some(), "an operator can take it out again");
    }
}

//! What `stickler top` shows, and what keys do to it.

use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use crate::admin::view::{Backend, Pools};
use crate::balance::cost::Window;
use crate::cli::remote::Target;

/// Seconds of load that are remembered.
pub(super) const SECONDS: usize = 60;

/// What a key has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    End,
    Drain(Target),
    Ready(Target),
    Maintenance(Target),
}

impl Wish {
    /// The question before it is done.
    pub(super) fn question(&self) -> String {
        match self {
            Wish::End => String::new(),
            Wish::Drain(target) => format!("Drain {target}? New sessions go elsewhere at once."),
            Wish::Ready(target) => format!("Make {target} ready? It takes new sessions again."),
            Wish::Maintenance(target) => {
                format!("Take {target} out of service? Its sessions lose it at once.")
            }
        }
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pools: Option<Pools>,
    /// Requests a second of each backend, the latest last.
    pub(super) loads: BTreeMap<(String, String), VecDeque<u64>>,
    /// Which line is chosen.
    pub(super) chosen: TableState,
    /// The time that the cost of stickiness is about.
    pub(super) window: Window,
    /// What a yes would do.
    pub(super) asked: Option<Wish>,
    /// What is said below.
    pub(super) said: String,
    /// Why the figures are old, if they are.
    pub(super) lost: Option<String>,
    /// Requests of each backend when last looked.
    requests: BTreeMap<(String, String), u64>,
}

impl State {
    /// Takes new figures.
    pub(super) fn show(&mut self, pools: Pools) {
        let mut loads = BTreeMap::new();
        let mut requests = BTreeMap::new();
        for (pool, backend) in lines(&pools) {
            let key = (pool.to_owned(), backend.name.clone());
            let before = self.requests.get(&key).copied().unwrap_or(backend.requests);
            let mut load = self.loads.remove(&key).unwrap_or_default();
            load.push_back(backend.requests.saturating_sub(before));
            if load.len() > SECONDS {
                load.pop_front();
            }
            requests.insert(key.clone(), backend.requests);
            loads.insert(key, load);
        }
        (self.loads, self.requests) = (loads, requests);
        let last = self.loads.len().checked_sub(1);
        self.chosen.select(last.map(|last| self.chosen.selected().unwrap_or(0).min(last)));
        self.lost = None;
        self.pools = Some(pools);
    }

    /// The proxy does not answer.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Says something below.
    pub(super) fn say(&mut self, said: String) {
        self.said = said;
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Wish> {
        let is_control_c =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control_c {
            return Some(Wish::End);
        }
        if let Some(wish) = self.asked.take() {
            let yes = matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter);
            return yes.then_some(wish);
        }
        self.said.clear();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::End),
            KeyCode::Up | KeyCode::Char('k') => self.chosen.select_previous(),
            KeyCode::Down | KeyCode::Char('j') => {
                let last = self.loads.len().saturating_sub(1);
                let next = self.chosen.selected().map_or(0, |line| line + 1);
                self.chosen.select(Some(next.min(last)));
            }
            KeyCode::Char('w') => {
                let at = Window::ALL.iter().position(|window| *window == self.window);
                self.window = Window::ALL[at.map_or(0, |at| (at + 1) % Window::ALL.len())];
            }
            KeyCode::Char('d') => self.asked = self.target().map(Wish::Drain),
            KeyCode::Char('r') => self.asked = self.target().map(Wish::Ready),
            KeyCode::Char('m') => self.asked = self.target().map(Wish::Maintenance),
            _ => {}
        }
        None
    }

    /// The chosen backend.
    fn target(&self) -> Option<Target> {
        let pools = self.pools.as_ref()?;
        let (pool, backend) = lines(pools).nth(self.chosen.selected()?)?;
        Some(Target { pool: pool.to_owned(), backend: backend.name.clone() })
    }
}

/// All backends with their pools, in the order in which they are shown.
pub(super) fn lines(pools: &Pools) -> impl Iterator<Item = (&str, &Backend)> {
    pools
        .pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool.name.as_str(), backend)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::view::{Affinity, Pool};

    /// One pool, `shop`, whose backends have had so many requests.
    pub(in crate::cli::top) fn pools(requests: &[u64]) -> Pools {
        let backend = |(i, &requests): (usize, &u64)| Backend {
            name: format!("shop-{}", i + 1),
            address: "10.0.0.1:80".into(),
            state: if i == 1 { "draining".into() } else { "ready".into() },
            weight: 1,
            priority: 0,
            max_connections: None,
            in_flight: 3,
            waiting: 0,
            tunnels: 0,
            sessions: 12,
            requests,
            request_rate: 20.0,
            request_share: 0.5,
            session_share: 0.5,
            fair_share: 0.25,
            placed: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            latency: None,
            drain: None,
            last_error: None,
        };
        let pool = Pool {
            name: "shop".into(),
            balance: "two_choices".into(),
            affinity: Affinity {
                mode: "cookie".into(),
                when_unavailable: "rebalance".into(),
                idle_timeout: "30m".into(),
            },
            sessions: 24,
            untracked: 0,
            in_flight: 6,
            waiting: 0,
            unavailable: 0,
            request_rate: 40.0,
            reasons: BTreeMap::new(),
            cost: Vec::new(),
            unstick: None,
            backends: requests.iter().enumerate().map(backend).collect(),
        };
        Pools { at: "2026-11-21T07:50:00.000Z".into(), pools: vec![pool], routes: Vec::new() }
    }

    fn press(state: &mut State, key: char) -> Option<Wish> {
        state.press(KeyCode::Char(key).into())
    }

    #[test]
    fn load_is_what_came_since_the_last_look() {
        let mut state = State::default();
        state.show(pools(&[100, 5]));
        for i in 1..=100 {
            state.show(pools(&[100 + 7 * i, 5]));
        }
        let load = &state.loads[&("shop".to_owned(), "shop-1".to_owned())];
        assert_eq!((load.len(), load.back()), (SECONDS, Some(&7)));
    }

    #[test]
    fn the_window_turns() {
        let mut state = State::default();
        let mut turned = vec![state.window.as_str()];
        for _ in 0..3 {
            assert_eq!(press(&mut state, 'w'), None);
            turned.push(state.window.as_str());
        }
        assert_eq!(turned, ["1m", "5m", "10s", "1m"]);
    }

    #[test]
    fn nothing_is_done_without_a_yes() {
        let mut state = State::default();
        assert_eq!(press(&mut state, 'd'), None, "there is nothing yet");
        assert_eq!(state.asked, None);
        state.show(pools(&[0, 0]));
        state.press(KeyCode::Down.into());
        state.press(KeyCode::Down.into());
        let target = Target { pool: "shop".into(), backend: "shop-2".into() };
        for (key, wish) in [
            ('d', Wish::Drain(target.clone())),
            ('r', Wish::Ready(target.clone())),
            ('m', Wish::Maintenance(target)),
        ] {
            assert_eq!(press(&mut state, key), None);
            assert_eq!(press(&mut state, 'n'), None, "no");
            press(&mut state, key);
            assert!(state.asked.as_ref().unwrap().question().contains("shop/shop-2"));
            assert_eq!(press(&mut state, 'y'), Some(wish));
            assert_eq!(press(&mut state, 'y'), None, "once");
        }
        state.press(KeyCode::Up.into());
        assert_eq!(state.chosen.selected(), Some(0));
        assert_eq!(press(&mut state, 'q'), Some(Wish::End));
    }

    #[test]
    fn the_choice_stays_where_there_is_something() {
        let mut state = State::default();
        state.show(pools(&[0, 0, 0]));
        (0..5).for_each(|_| drop(state.press(KeyCode::Down.into())));
        assert_eq!(state.chosen.selected(), Some(2));
        state.show(pools(&[0]));
        assert_eq!(state.chosen.selected(), Some(0));
    }
}

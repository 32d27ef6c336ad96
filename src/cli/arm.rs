//! One of the pools of a route, as the commands show it.

use super::table::percent;
use crate::admin::view::Arm;

/// What [`texts`] are.
pub(super) const TITLES: [&str; 6] =
    ["pool", "new sessions", "weight", "should have", "last minute", "sessions"];

/// From this column on they are numbers.
pub(super) const NUMBERS: usize = 2;

/// A pool's columns: what it should have, and has.
pub(super) fn texts(arm: &Arm) -> [String; 6] {
    [
        arm.pool.clone(),
        if arm.takes_new { "yes" } else { "no" }.into(),
        arm.weight.to_string(),
        percent(arm.wanted),
        arm.share.map_or("-".into(), percent),
        arm.sessions.to_string(),
    ]
}

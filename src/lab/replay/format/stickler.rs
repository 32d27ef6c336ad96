//! Stickler's own access log: a JSON object a line. The time is that of the request's arrival.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::entry::{Entry, Part, SessionKey};
use super::super::time;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_agent: Option<Cow<'a, str>>,
    /// What the backend worked on it: to the head of its answer, and to the end.
    duration_us: u64,
    #[serde(default)]
    head_us: u64,
    #[serde(default)]
    transfer_us: u64,
}

pub(super) fn parse(line: &[u8], key: &SessionKey) -> Result<Entry, &'static str> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "not a line of Stickler's")?;
    let (at, grain) = time::iso(&line.time).ok_or("it has no time")?;
    let field = |part: &Part| match part {
        Part::Session => line.session.clone(),
        Part::Address => Some(line.client.clone()),
        Part::UserAgent => line.user_agent.clone(),
        Part::User | Part::Cookie(_) | Part::Header(_) => None,
    };
    // Without waiting and connecting: that is what a replay makes anew.
    let micros = match line.head_us + line.transfer_us {
        0 => line.duration_us,
        work => work,
    };
    Ok(Entry { at, grain, key: key.hash(field), took: Some(micros.saturating_mul(1_000)) })
}

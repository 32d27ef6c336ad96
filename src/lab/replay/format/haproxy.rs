//! HAProxy's HTTP log (`option httplog`), with or without a syslog header before it:
//!
//! ```text
//! 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ----
//!   1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1"
//! ```
//!
//! The time is that of the accepted request, in the local time of the machine, which is taken as
//! UTC. `cookie:NAME` is the captured request cookie, `header:N` the N-th captured request header.

use std::borrow::Cow;

use super::super::entry::{Entry, Part, SessionKey};
use super::super::time;

pub(super) fn parse(line: &str, key: &SessionKey) -> Result<Entry, &'static str> {
    let (before, rest) = line.split_once(" [").ok_or("it has no time")?;
    let client = before.rsplit(' ').next().unwrap_or_default();
    let (at, rest) = rest.split_once("] ").ok_or("it has no time")?;
    let (at, grain) = time::common(at).ok_or("its time is none")?;
    let (address, _port) = client.rsplit_once(':').ok_or("it has no client")?;
    let mut fields = rest.split(' ');
    let mut next = || fields.next().ok_or("it is too short");
    let (_frontend, _server, timers) = (next()?, next()?, next()?);
    let (status, _bytes, request_cookie) = (next()?, next()?, next()?);
    if status != "-1" && !(status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit())) {
        return Err("it has no status");
    }
    let took = took(timers).ok_or("it has no timers")?;
    let field = |part: &Part| match part {
        Part::Address => Some(Cow::Borrowed(address)),
        Part::Cookie(name) => {
            let (found, value) = request_cookie.split_once('=')?;
            (found == name).then_some(Cow::Borrowed(value))
        }
        Part::Header(number) => {
            let number: usize = number.parse().ok()?;
            captured(rest)?.split('|').nth(number.checked_sub(1)?).map(Cow::Borrowed)
        }
        Part::Session | Part::User | Part::UserAgent => None,
    };
    Ok(Entry { at, grain, key: key.hash(field), took })
}

/// How long the server worked: Tr of TR/Tw/Tc/Tr/Ta if there was an answer, else all of it. The
/// outer `None` means that these are no timers.
fn took(timers: &str) -> Option<Option<u64>> {
    let numbers = timers.split('/').map(|n| n.trim_start_matches('+').parse::<i64>().ok());
    let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
    let &[_, _, _, response, all] = &numbers[..] else { return None };
    let millis = if response >= 0 { response } else { all };
    Some(u64::try_from(millis).ok().map(|millis| millis.saturating_mul(1_000_000)))
}

/// What is in the first braces before the request.
fn captured(rest: &str) -> Option<&str> {
    let (before_request, _) = rest.split_once('"')?;
    let (_, inside) = before_request.split_once('{')?;
    inside.split_once('}').map(|(inside, _)| inside)
}

//! Did the demo go as it should?

use super::policy::Affinity;
use crate::balance::{Pool, Reason};
use crate::cli::failure::Failure;
use crate::lab::journal::Ending;
use crate::lab::summary::Summary;
use crate::server::Shutdown;

/// Sessions that left their home because somebody took that out of service, or let them go: app
/// servers that keep sessions in memory do not know them elsewhere.
pub(super) fn sent_away(pool: &Pool) -> u64 {
    let reasons =
        [Reason::Draining, Reason::Drained, Reason::Down, Reason::Removed, Reason::Released];
    reasons.into_iter().map(|reason| pool.count_of(reason)).sum()
}

/// A session that is lost, or a request that fails, is what the user wanted to see if there is no
/// affinity or if an app server has been killed, and so is the loss of sessions that were sent
/// away. Otherwise it is a failure.
pub(super) fn verdict(
    affinity: Affinity,
    summary: &Summary,
    ended_early: usize,
    sent_away: u64,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    if ended_early > 0 {
        return Ok(());
    }
    let journal = &summary.journal;
    let lost = if affinity == Affinity::None { 0 } else { journal.ended(Ending::Lost) };
    let lost = lost.saturating_sub(sent_away);
    let cut_off = match *shutdown {
        Shutdown::Complete => 0,
        Shutdown::Forced { connections } => connections as u64,
    };
    let problems = [
        ("sessions lost", lost),
        ("sessions failed", journal.ended(Ending::Failed)),
        ("requests failed", journal.error_count()),
        ("connections cut off", cut_off),
    ];
    let problems = problems.iter().filter(|(_, count)| *count > 0);
    let problems: Vec<_> = problems.map(|(what, count)| format!("{what}: {count}")).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("{}, and no app server has ended", problems.join(", "))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::PoolSpec;
    use crate::lab::journal::{Journal, Journey};

    /// The summary of a run with one session, which ended like this.
    fn run_of_one(ending: Ending) -> Summary {
        let spec = PoolSpec::new("shop", Vec::new());
        let mut journal = Journal::default();
        let mut journey = Journey::new(1);
        journey.ending = ending;
        journal.end(journey);
        Summary::new(&Pool::new(&spec, 1), journal, Duration::from_secs(1))
    }

    #[test]
    fn a_lost_session_is_a_failure_unless_it_was_to_be_expected() {
        let lost = run_of_one(Ending::Lost);
        let verdict = |affinity, ended| verdict(affinity, &lost, ended, 0, &Shutdown::Complete);
        let expected = "sessions lost: 1, and no app server has ended".to_owned();
        assert_eq!(verdict(Affinity::Cookie, 0), Err(Failure::Failed(expected)));
        assert_eq!(verdict(Affinity::None, 0), Ok(()));
        assert_eq!(verdict(Affinity::Hash, 1), Ok(()));
        let sent_away = super::verdict(Affinity::Cookie, &lost, 0, 1, &Shutdown::Complete);
        assert_eq!(sent_away, Ok(()), "an operator has drained its home");
    }

    #[test]
    fn what_was_cut_off_and_what_failed_is_a_failure() {
        let forced = Shutdown::Forced { connections: 2 };
        assert!(verdict(Affinity::None, &run_of_one(Ending::Completed), 0, 0, &forced).is_err());
        let failed = run_of_one(Ending::Failed);
        assert!(verdict(Affinity::None, &failed, 0, 0, &Shutdown::Complete).is_err());
        let stopped = run_of_one(Ending::Stopped);
        assert_eq!(verdict(Affinity::Cookie, &stopped, 0, 0, &Shutdown::Complete), Ok(()));
    }
}

//! Slow start: a backend that has just come up gets its share little by little.
//!
//! Caches are cold, connections have to be made, code has to be compiled, and the most idle
//! backend of a pool is the one that has just appeared. For a while its weight counts only in
//! part, growing linearly with time, for every balancer and for hashing: they see weights.

use std::time::Duration;

use super::Timestamp;
use super::ready::WEIGHT_ONE;

/// Steps of the ramp. Each is a new snapshot of the pool.
const STEPS: u32 = 20;

/// The part of its weight, in thousandths, that counts for a backend that has been taking new
/// sessions since `since`, at `now`: from a twentieth up to all of it over `duration`.
pub(super) fn part(since: Timestamp, now: Timestamp, duration: Duration) -> u32 {
    let elapsed = now.since(since);
    if elapsed >= duration {
        return WEIGHT_ONE;
    }
    let steps = elapsed.as_nanos() * u128::from(STEPS) / duration.as_nanos().max(1);
    (steps as u32 + 1).min(STEPS) * (WEIGHT_ONE / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_grows_in_steps_from_a_twentieth_to_all() {
        let begin = Timestamp::from_millis(5_000);
        let part_at =
            |secs: u64| part(begin, begin + Duration::from_secs(secs), Duration::from_secs(40));
        assert_eq!(part_at(0), WEIGHT_ONE / 20);
        assert_eq!(part_at(1), WEIGHT_ONE / 20);
        assert_eq!(part_at(2), WEIGHT_ONE / 10);
        assert_eq!(part_at(20), WEIGHT_ONE * 11 / 20);
        assert_eq!(part_at(39), WEIGHT_ONE);
        assert_eq!(part_at(40), WEIGHT_ONE);
        assert_eq!(part(begin, Timestamp::ZERO, Duration::from_secs(40)), WEIGHT_ONE / 20);
        assert_eq!(part(begin, begin, Duration::ZERO), WEIGHT_ONE);
    }
}

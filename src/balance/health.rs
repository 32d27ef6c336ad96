//! From single checks to a verdict: so many successes in a row to rise, so many failures to fall.

/// When a backend counts as up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Consecutive successes that make a backend that is down count as up.
    pub rise: u32,
    /// Consecutive failures that make a backend that is up count as down.
    pub fall: u32,
}

/// The state of one backend's health checks.
#[derive(Clone, Debug)]
pub struct Health {
    thresholds: Thresholds,
    up: bool,
    /// Checks in a row that contradict `up`.
    contrary: u32,
    /// Until the first check has answered, `up` is only an assumption, and one check decides.
    proven: bool,
}

impl Health {
    /// Before the first check, with an assumption about how it will go.
    pub fn new(thresholds: Thresholds, assumed_up: bool) -> Self {
        Health { thresholds, up: assumed_up, contrary: 0, proven: false }
    }

    /// From now on these count.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Is the backend up?
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Takes in the result of a check. Gives the new verdict if it changed.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        let needed = match (self.proven, self.up) {
            (false, _) => 1,
            (true, true) => self.thresholds.fall,
            (true, false) => self.thresholds.rise,
        };
        self.proven = true;
        if success == self.up {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        if self.contrary < needed {
            return None;
        }
        self.contrary = 0;
        self.up = success;
        Some(success)
    }

    /// Is a change under way? Then the next check should come sooner.
    pub fn is_changing(&self) -> bool {
        !self.proven || self.contrary > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 3 };

    #[test]
    fn it_takes_fall_failures_in_a_row_to_go_down_and_rise_successes_to_come_up() {
        let mut health = Health::new(THRESHOLDS, true);
        assert_eq!(health.observe(true), None);
        assert_eq!(health.observe(false), None);
        assert_eq!(health.observe(false), None);
        assert_eq!(health.observe(true), None, "a success starts the count again");
        assert_eq!(health.observe(false), None);
        assert_eq!(health.observe(false), None);
        assert!(health.is_changing());
        assert_eq!(health.observe(false), Some(false));
        assert!(!health.is_up() && !health.is_changing());
        assert_eq!(health.observe(true), None);
        assert_eq!(health.observe(true), Some(true));
        assert!(health.is_up());
    }

    #[test]
    fn the_first_check_decides_alone() {
        let mut optimist = Health::new(THRESHOLDS, true);
        assert!(optimist.is_changing());
        assert_eq!(optimist.observe(false), Some(false));
        let mut pessimist = Health::new(THRESHOLDS, false);
        assert_eq!(pessimist.observe(true), Some(true));
        assert_eq!(pessimist.observe(false), None);
    }
}

//! How figures are written.

/// `34 %`; below 10 % with one digit, as `3.4 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// `0.42 ms`, `4.2 ms`, `42 ms`: no more digits than anybody reads.
pub(super) fn millis(millis: f64) -> String {
    format!("{} ms", digits(millis))
}

/// `4.2 s`
pub(super) fn seconds(seconds: f64) -> String {
    format!("{} s", digits(seconds))
}

/// `0.042`, `0.42`, `4.2`, `42`, `420`
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        tiny if tiny < 0.0995 => format!("{value:.3}"),
        small if small < 0.995 => format!("{value:.2}"),
        small if small < 9.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// `1,234,567`
pub(in crate::lab) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 session`, `1,200 sessions`
pub(in crate::lab) fn several(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {one}s", count(number)) }
}

/// `costs 34 % headroom`, `saves 3.4 % headroom`, `costs no extra headroom`: what the extra capacity
/// that the busiest server needs comes to, in every report.
pub(in crate::lab) fn headroom(cost: f64) -> String {
    /// A difference that is not worth mentioning.
    const NEGLIGIBLE: f64 = 0.01;

    match cost {
        cost if cost > NEGLIGIBLE => format!("costs {} headroom", percent(cost)),
        cost if cost < -NEGLIGIBLE => format!("saves {} headroom", percent(-cost)),
        _ => "costs no extra headroom".to_owned(),
    }
}

/// `a`, `a and b`, `a, b and c`
pub(in crate::lab) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The text with a capital letter in front.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_no_more_digits_than_they_mean() {
        assert_eq!([percent(0.034), percent(0.344), percent(0.0995)], ["3.4 %", "34 %", "10 %"]);
        let times = [0.4213, 4.213, 42.13, 421.3].map(millis);
        assert_eq!(times, ["0.42 ms", "4.2 ms", "42 ms", "421 ms"]);
        assert_eq!([0.0, 0.0042, 0.999, 9.96].map(digits), ["0", "0.004", "1.0", "10"]);
        assert_eq!([0, 999, 1000, 1234567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let costs = [0.344, 0.0096, -0.034].map(headroom);
        let expected = ["costs 34 % headroom", "costs no extra headroom", "saves 3.4 % headroom"];
        assert_eq!(costs, expected);
    }

    #[test]
    fn lists_read_like_language() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([list(&words[..1]), list(&words[..2])], ["a", "a and b"]);
        assert_eq!(list(&words), "a, b and c");
        assert_eq!(sentence("steady: x"), "Steady: x");
        let sessions = [0, 1, 1200].map(|n| several(n, "session"));
        assert_eq!(sessions, ["0 sessions", "1 session", "1,200 sessions"]);
    }
}

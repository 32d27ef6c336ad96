//! "Did you mean": the nearest of the words that would have been right.

/// What other proxies call it, and what we do.
const ELSEWHERE: &[(&str, &str)] = &[
    ("leastconn", "least_connections"),
    ("least_request", "least_connections"),
    ("roundrobin", "round_robin"),
    ("rr", "round_robin"),
    ("p2c", "two_choices"),
    ("ewma", "peak_ewma"),
    ("source", "source_address"),
    ("sticky", "cookie"),
    ("consistent_hash", "hash"),
    ("maxconn", "max_connections"),
    ("servers", "backends"),
    ("upstream", "pool"),
    ("bind", "address"),
    ("listen", "address"),
];

/// The word that was probably meant, if one is near enough.
pub(super) fn nearest<'a>(
    written: &str,
    right: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = normalize(written);
    let ours = ELSEWHERE.iter().find(|(theirs, _)| *theirs == written).map(|(_, ours)| *ours);
    let distance = |word: &str| match ours {
        Some(ours) if ours == word => Some(0),
        _ => distance(&written, &normalize(word)),
    };
    let near = right.into_iter().filter_map(|word| Some((distance(word)?, word)));
    near.min().map(|(_, word)| word)
}

/// How far the words are apart, if they are near enough for typing errors.
fn distance(written: &str, right: &str) -> Option<usize> {
    let letters = written.chars().count();
    // An abbreviation, or a word too many: `least_conn`, `idle_timeout`.
    let begins = right.starts_with(written) || written.starts_with(right);
    if begins && letters.min(right.chars().count()) >= 3 {
        return Some(1);
    }
    // A third of the letters may be wrong, but not the first of a short word.
    let distance = strsim::damerau_levenshtein(written, right);
    let same_start = written.chars().next() == right.chars().next();
    (distance <= letters / 3 && (letters > 4 || same_start)).then_some(distance)
}

fn normalize(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

/// The words in backquotes, with commas.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_understood() {
        let keys = ["balance", "attempts", "affinity", "backends"];
        assert_eq!(nearest("balanc", keys), Some("balance"));
        assert_eq!(nearest("backend", keys), Some("backends"));
        assert_eq!(nearest("Afinity", keys), Some("affinity"));
        assert_eq!(nearest("least-connections", ["least_connections"]), Some("least_connections"));
        assert_eq!(
            nearest("least_conn", ["random", "least_connections"]),
            Some("least_connections")
        );
        assert_eq!(nearest("idle_timeout", ["idle", "tunnel"]), Some("idle"));
        assert_eq!(
            nearest("leastconn", ["random", "least_connections"]),
            Some("least_connections")
        );
        assert_eq!(nearest("roundrobin", ["round_robin"]), Some("round_robin"));
        assert_eq!(nearest("leastconn", ["random"]), None, "only what would be right here");
        assert_eq!(nearest("shp", ["shop"]), Some("shop"));
        assert_eq!(nearest("xff", ["off"]), None);
        assert_eq!(nearest("zzz", keys), None);
        assert_eq!(nearest("x", []), None);
    }
}

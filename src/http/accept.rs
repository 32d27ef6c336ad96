//! Does this client want a page or JSON?

/// Would the client that sent this `Accept` rather have JSON than HTML? People's browsers always
/// name `text/html`; whoever does not is a program.
pub fn prefers_json(accept: Option<&[u8]>) -> bool {
    let (html, json) = weights(accept);
    html == 0 || json > html
}

/// Does it name JSON, and rather than HTML? Who takes anything names neither.
pub fn wants_json(accept: Option<&[u8]>) -> bool {
    let (html, json) = weights(accept);
    json > html
}

/// How much HTML and JSON are wanted, where they are named.
fn weights(accept: Option<&[u8]>) -> (u32, u32) {
    let accept = accept.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let mut html = 0;
    let mut json = 0;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let quality = |weight: &str| thousandths(weight).unwrap_or(1000);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(1000, quality);
        match media.as_str() {
            "text/html" | "application/xhtml+xml" => html = html.max(weight),
            "application/json" | "application/problem+json" => json = json.max(weight),
            _ => {}
        }
    }
    (html, json)
}

/// A weight (RFC 9110, section 12.4.2) in thousandths.
pub(super) fn thousandths(weight: &str) -> Option<u32> {
    let weight: f32 = weight.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn browsers_get_pages_and_programs_json() {
        for (accept, json) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("*/*", true),
            ("application/json, text/plain, */*", true),
            ("text/html;q=0.5, application/json", true),
            ("TEXT/HTML, application/json;q=0.9", false),
            ("text/html;q=bad", false),
            ("", true),
        ] {
            assert_eq!(prefers_json(Some(accept.as_bytes())), json, "{accept}");
        }
        assert!(prefers_json(None));
    }

    #[test]
    fn who_takes_anything_does_not_want_json() {
        for (accept, wants) in [("*/*", false), ("", false), ("text/html", false)] {
            assert_eq!(wants_json(Some(accept.as_bytes())), wants, "{accept}");
        }
        assert!(wants_json(Some(b"application/json, */*")) && !wants_json(None));
    }

    proptest! {
        /// Who prefers HTML gets it wherever it stands, and anything at all may come.
        #[test]
        fn order_makes_no_difference(json in 0u32..1000, html in 0u32..1000, other in "[ -~]{0,20}") {
            let other = other.replace(',', ";").replace("json", "").replace("html", "");
            let ranges = [
                format!("application/json;q=0.{json:03}"),
                format!("text/html;q=0.{html:03}"),
                other,
            ];
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                let accept = order.map(|i| ranges[i].as_str()).join(",");
                prop_assert_eq!(wants_json(Some(accept.as_bytes())), json > html, "{}", accept);
            }
        }
    }
}

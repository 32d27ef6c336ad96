//! Field names that were seen before.

use http::header::HeaderName;

use super::fields::Found;

/// Longer names are not kept: somebody could fill the memory with them.
const MAX_LEN: usize = 64;

/// The field names that a site's backends use: the same few, spelled the same way, again and
/// again. To recognize one costs a quarter of making it, and allocates nothing.
#[derive(Debug)]
pub struct KnownNames {
    /// Each in the place that its length and its ends say, until another one comes there.
    places: [Option<Known>; Self::PLACES],
}

/// A name as somebody wrote it, and what it is.
#[derive(Debug)]
struct Known {
    text: Box<str>,
    name: HeaderName,
    flag: Found,
}

impl KnownNames {
    const PLACES: usize = 64;

    /// What is the name that somebody writes so? `None` if it is none.
    pub fn get(&mut self, text: &str) -> Option<(HeaderName, Found)> {
        let (first, last) = (*text.as_bytes().first()?, *text.as_bytes().last()?);
        let place = text.len() * 5 + usize::from(first) * 7 + usize::from(last) * 5;
        let place = &mut self.places[place % Self::PLACES];
        if let Some(known) = place
            && *known.text == *text
        {
            return Some((known.name.clone(), known.flag));
        }
        let name = HeaderName::from_bytes(text.as_bytes()).ok()?;
        let flag = Found::of_text(text);
        if text.len() <= MAX_LEN {
            *place = Some(Known { text: text.into(), name: name.clone(), flag });
        }
        Some((name, flag))
    }
}

impl Default for KnownNames {
    fn default() -> Self {
        KnownNames { places: [const { None }; Self::PLACES] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_is_however_often_and_in_whatever_company() {
        let mut names = KnownNames::default();
        let long = "x".repeat(MAX_LEN + 1);
        // More than there are places.
        let many: Vec<String> = (0..500).map(|i| format!("x-{i}-name")).collect();
        for _ in 0..3 {
            for text in many.iter().map(String::as_str).chain(["ETag", "etag", "x", &long]) {
                let expected = HeaderName::from_bytes(text.as_bytes()).unwrap();
                assert_eq!(names.get(text), Some((expected, Found::default())), "{text}");
            }
            for text in ["Connection", "connection", "CONNECTION"] {
                let expected = (http::header::CONNECTION, Found::CONNECTION);
                assert_eq!(names.get(text), Some(expected), "{text}");
            }
            for bad in ["", "a b", "a:", "\u{e4}"] {
                assert_eq!(names.get(bad), None, "{bad:?}");
            }
        }
        assert!(names.places.iter().flatten().all(|known| known.text.len() <= MAX_LEN));
    }
}

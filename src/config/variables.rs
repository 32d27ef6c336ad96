//! `${NAME}` in strings: values from the environment.
//!
//! `${NAME}` stands for the value of a variable, which must be set; `${NAME:-default}` for the
//! default if it is not set or empty, as in a shell; `$${` for `${` itself. What a variable
//! contains is not looked at again.

use std::ops::Range;

/// How variables are looked up. Passed in, so that only the command line reads the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A string after its variables are replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Something came from the environment: `text` may be a secret and is not to be shown.
    pub(super) secret: bool,
}

/// A variable that cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where in the string.
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// A variable in a string.
#[derive(Debug, PartialEq, Eq)]
struct Variable<'a> {
    /// From `$` to `}`.
    range: Range<usize>,
    name: &'a str,
    default: Option<&'a str>,
}

/// What a string is made of.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Variable(Variable<'a>),
    /// `${` without an end, or with no name after it.
    Broken(Range<usize>),
}

/// Replaces the variables of a string.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<Expanded, Vec<Problem>> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), secret: false };
    let mut problems = Vec::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => expanded.text.push_str(text),
            Piece::Broken(range) => problems.push(Problem {
                range,
                message: "this is not a variable".into(),
                help: "a variable is written ${NAME} or ${NAME:-default}; $${ stands for ${ itself",
            }),
            Piece::Variable(Variable { range, name, default }) => {
                let value = environment(name);
                match (value, default) {
                    (Some(value), default) if !value.is_empty() || default.is_none() => {
                        expanded.text.push_str(&value);
                        expanded.secret = true;
                    }
                    (_, Some(default)) => expanded.text.push_str(default),
                    (_, None) => {
                        let message = format!("the environment variable {name} is not set");
                        let help = "set it, or give a default: ${NAME:-default}";
                        problems.push(Problem { range, message, help });
                    }
                }
            }
        }
    }
    if problems.is_empty() { Ok(expanded) } else { Err(problems) }
}

/// The parts of a string that are not names of variables: what to black out of a secret.
pub(super) fn literals(text: &str) -> Vec<Range<usize>> {
    let mut literals = Vec::new();
    let mut end = 0;
    for piece in pieces(text) {
        if let Piece::Variable(Variable { range, name, .. }) = piece {
            literals.push(end..range.start);
            literals.push(range.start + "${".len() + name.len()..range.end - "}".len());
            end = range.end;
        }
    }
    literals.push(end..text.len());
    literals
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        if rest[..dollar].ends_with('$') {
            pieces.push(Piece::Text(&rest[..dollar - 1]));
            pieces.push(Piece::Text(&rest[dollar..][..2]));
            rest = &rest[dollar + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..dollar]));
        let start = text.len() - rest.len() + dollar;
        let Some((inside, after)) = rest[dollar + 2..].split_once('}') else {
            pieces.push(Piece::Broken(start..text.len()));
            return pieces;
        };
        let range = start..text.len() - after.len();
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        pieces.push(if is_name(name) {
            Piece::Variable(Variable { range, name, default })
        } else {
            Piece::Broken(range)
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("s3cret".into()),
            "NESTED" => Some("${KEY}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> String {
        expand(text, &environment).unwrap().text
    }

    #[test]
    fn variables_are_replaced_once() {
        assert_eq!(expanded("a ${KEY} b${KEY}"), "a s3cret bs3cret");
        assert_eq!(expanded("${NESTED}"), "${KEY}");
        assert_eq!(expanded("[${EMPTY}]"), "[]");
        assert_eq!(expanded("$KEY $ {KEY} {KEY} $"), "$KEY $ {KEY} {KEY} $");
    }

    #[test]
    fn a_default_stands_in_for_what_is_unset_or_empty() {
        assert_eq!(expanded("${UNSET:-a:-b}${EMPTY:-c}${KEY:-d}${UNSET:-}"), "a:-bcs3cret");
    }

    #[test]
    fn two_dollars_are_one() {
        assert_eq!(expanded("$${KEY} $${"), "${KEY} ${");
        assert_eq!(expanded("$$x"), "$$x");
        assert!(!expand("$${KEY}${UNSET:-x}", &environment).unwrap().secret);
        assert!(expand("${KEY}", &environment).unwrap().secret);
    }

    #[test]
    fn all_that_cannot_be_replaced_is_reported() {
        let problems = expand("${UNSET}${KEY}${1}${}${KEY", &environment).unwrap_err();
        let ranges: Vec<_> = problems.iter().map(|problem| problem.range.clone()).collect();
        assert_eq!(ranges, [0..8, 14..18, 18..21, 21..26]);
        assert!(problems[0].message.contains("UNSET"));
    }

    #[test]
    fn names_of_variables_are_not_secret() {
        let text = "a${KEY}b${KEY:-c}";
        let hidden: Vec<_> = literals(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(hidden, ["a", "", "b", ":-c", ""]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r"[${}:\-A-Zä]*") {
            let _ = expand(&text, &environment);
            for range in literals(&text) {
                let _ = &text[range];
            }
        }
    }
}

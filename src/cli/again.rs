//! The command line that makes a report again, as the report has it.

/// A command with these operands and options, those without a value left out. What only says where
/// the result goes is no part of it.
pub(super) fn command(
    begin: &str,
    operands: impl IntoIterator<Item = String>,
    options: impl IntoIterator<Item = (&'static str, String)>,
) -> String {
    let operands = operands.into_iter().map(|operand| quoted(&operand));
    let options = options.into_iter().filter(|(_, value)| !value.is_empty());
    let options = options.map(|(option, value)| format!("{option} {}", quoted(&value)));
    let words: Vec<_> = std::iter::once(begin.to_owned()).chain(operands).chain(options).collect();
    words.join(" ")
}

/// Values of an option that takes several, with commas between.
pub(super) fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The value of an option that may be absent.
pub(super) fn given<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// A time, as options take it.
pub(super) fn time(time: std::time::Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-+=:,./@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let operands = ["access.log".to_owned(), "it's old.gz".to_owned()];
        let options = [
            ("--format", "$msec \"$http_cookie\"".to_owned()),
            ("--policy", list(&["random", "random+hash:ring"])),
            ("--session", given(None::<&String>)),
            ("--idle-timeout", time(std::time::Duration::from_secs(90))),
        ];
        let expected = "stickler replay access.log 'it'\\''s old.gz' --format '$msec \
                        \"$http_cookie\"' --policy random,random+hash:ring --idle-timeout '1m 30s'";
        assert_eq!(command("stickler replay", operands, options), expected);
    }
}

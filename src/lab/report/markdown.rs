//! The report as Markdown, for the documentation.

use std::fmt::Write as _;

use super::table::{COLUMNS, particulars, row};
use super::{Report, prediction};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    if !report.command.is_empty() {
        let _ = writeln!(text, "```\n{}\n```\n", report.command);
    }
    if report.judges_claims {
        text.push_str("| claim | here | figures |\n| --- | --- | --- |\n");
        for claim in report.claims() {
            let outcome = claim.outcome.as_str();
            let _ = writeln!(text, "| {} | **{outcome}** | {} |", claim.says, claim.figures);
        }
        text.push('\n');
    }
    for sentence in report.verdict() {
        let _ = writeln!(text, "* {sentence}");
    }
    for (scenario, summaries) in report.scenarios() {
        let _ = writeln!(text, "\n### {scenario}\n\n| {} |", COLUMNS.join(" | "));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(COLUMNS.len() - 1));
        for summary in &summaries {
            let _ = writeln!(text, "| {} |", row(summary).join(" | "));
        }
        let told = summaries.iter().map(|summary| (summary, particulars(summary)));
        for (i, (summary, particulars)) in told.filter(|(_, told)| !told.is_empty()).enumerate() {
            let parts: Vec<_> =
                particulars.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let blank = if i == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{blank}* {}: {}", summary.policy.name, parts.join(", "));
        }
    }
    let predicted = prediction::rows(report);
    if !predicted.is_empty() {
        let columns = prediction::COLUMNS;
        let _ = writeln!(
            text,
            "\n### The simulator about the same runs\n\n| {} |",
            columns.join(" | ")
        );
        let _ = writeln!(text, "| --- | --- |{}", " ---: |".repeat(columns.len() - 2));
        for row in predicted {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    if !report.setup.is_empty() {
        text.push_str("\n### Set-up\n\n| | |\n| --- | --- |\n");
        for fact in &report.setup {
            let _ = writeln!(text, "| {} | {} |", fact.name, fact.value);
        }
    }
    if text.is_empty() { "\n".into() } else { text }
}

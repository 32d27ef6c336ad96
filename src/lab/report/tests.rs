use super::*;

/// A run of one of the usual policies, with 100 requests and no trouble.
pub(super) fn run(policy: &str, scenario: &str) -> Run {
    let (affinity, state) = match policy {
        "sticky" => ("cookie", "memory"),
        "none" => ("none", "memory"),
        state => ("none", state),
    };
    Run {
        policy: Policy {
            name: policy.into(),
            balance: "two_choices".into(),
            affinity: affinity.into(),
            state: state.into(),
        },
        scenario: scenario.into(),
        seconds: 10.0,
        requests: 100,
        sessions: Sessions { seen: 10, lost: Some(0), moved: 0 },
        load: Load {
            step: 0.5,
            backends: ["app-1", "app-2"]
                .map(|name| BackendLoad { name: name.into(), rates: vec![4.0, 6.0, 5.0] })
                .into(),
        },
        ..Run::default()
    }
}

/// Several policies in several scenarios, twice.
fn report() -> Report {
    let mut runs = Vec::new();
    for scenario in ["steady", "crash"] {
        for policy in ["sticky", "redis", "none"] {
            runs.extend([run(policy, scenario), run(policy, scenario)]);
        }
    }
    let setup = vec![Fact::new("seed", 7), Fact::new("a <tag>", "& more")];
    Report {
        title: "stickler bench".into(),
        command: "stickler bench".into(),
        setup,
        runs,
        judges_claims: true,
        is_simulated: false,
    }
}

#[test]
fn json_is_read_as_written() {
    let report = report();
    assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
}

#[test]
fn the_page_is_self_contained_and_has_everything() {
    let page = report().to_html();
    assert!(page.starts_with("<!DOCTYPE html>"));
    for outside in ["src=", "href=\"http", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside} loads something");
    }
    for expected in [
        "prefers-color-scheme: dark",
        "@media print",
        "width=device-width",
        "a &lt;tag&gt;",
        "&amp; more",
        "A crash of the busiest server loses 0 of 20 sessions with sticky",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in the page");
    }
    // Latency for each scenario, load for each policy in each, sessions lost once.
    assert_eq!(page.matches("<svg").count(), 2 + 6 + 1);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn what_failed_is_told_by_kind() {
    let mut first = run("sticky", "crash");
    first.details.errors = [("502".to_owned(), 2), ("timed_out".to_owned(), 1)].into();
    let mut second = run("sticky", "crash");
    second.details.errors = [("502".to_owned(), 1)].into();
    let report = Report { runs: vec![first, second], ..Report::default() };
    let text = report.to_text();
    assert!(text.contains("sticky: errors 502 3 times, timed_out once"), "{text}");
}

#[test]
fn an_empty_report_is_still_a_report() {
    let report = Report::default();
    assert!(report.to_html().contains("</html>"));
    assert!(report.to_text().ends_with('\n'));
    assert!(report.to_markdown().ends_with('\n'));
}

#[test]
fn the_table_has_a_row_for_each_policy_of_each_scenario() {
    let text = report().to_text();
    assert_eq!(text.matches("\n sticky ").count(), 2, "{text}");
    assert_eq!(text.matches("\n redis ").count(), 2, "{text}");
    for heading in ["steady", "crash", "peak/mean", "p99.9"] {
        assert!(text.contains(heading), "{heading} is not in\n{text}");
    }
    assert!(text.is_ascii() || text.contains('─'), "{text}");
}

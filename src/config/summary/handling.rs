//! What routes do on the way, in words. Values of fields may be secrets, so only names are shown.

use http::HeaderValue;
use http::header::HeaderName;

use super::super::leaf::{Leaf, Size, StatusRange};
use super::super::{Action, Compression, ErrorPages, FieldRules, Handling, Pool, RateLimit};
use super::key;
use crate::routing::Rewrite;

/// Where a route leads.
pub(super) fn action(action: &Action, pools: &[Pool]) -> String {
    match action {
        Action::Pool(index) => {
            format!("-> {}", pools.get(*index).map_or("", |pool| &pool.spec.name))
        }
        Action::Split(split) => {
            let arms = split.arms.iter().map(|(index, weight)| {
                let name = pools.get(*index).map_or("", |pool| &pool.spec.name);
                format!("{name} {weight}")
            });
            format!("-> {} ({})", arms.collect::<Vec<_>>().join(", "), split.name)
        }
        Action::Redirect(redirect) => format!("{} to {}", redirect.status.as_str(), redirect.to),
    }
}

/// What is done on the way.
pub(super) fn handling(handling: &Handling) -> String {
    let Handling { access, rate_limit, rewrite, request, response, hsts, error_pages, compression } =
        handling;
    let mut about = Vec::new();
    about.extend(access.as_ref().map(ToString::to_string));
    about.extend(rate_limit.as_ref().map(limit));
    about.extend(rewrite.as_ref().map(path));
    about.extend(fields("requests", request));
    about.extend(fields("responses", response));
    about.extend(hsts.as_ref().map(|hsts| {
        format!("Strict-Transport-Security {}", String::from_utf8_lossy(hsts.as_bytes()))
    }));
    about.extend(pages(error_pages));
    about.extend(compression.as_ref().map(|settings| match settings {
        Some(settings) => format!("compressed: {}", compressed(settings)),
        None => "not compressed".into(),
    }));
    about.join("; ")
}

fn limit(limit: &RateLimit) -> String {
    let RateLimit { requests, per, burst, key: by, max_keys } = limit;
    format!(
        "{requests} requests in {} by {}, {burst} at once, {max_keys} counted",
        per.show(),
        key(by)
    )
}

fn path(rewrite: &Rewrite) -> String {
    let mut about = Vec::new();
    about.extend((!rewrite.strip.is_empty()).then(|| format!("{} off", rewrite.strip)));
    about.extend((!rewrite.add.is_empty()).then(|| format!("{} before", rewrite.add)));
    format!("paths: {}", about.join(", "))
}

fn fields(whose: &str, rules: &FieldRules) -> Option<String> {
    if rules.is_empty() {
        return None;
    }
    let with = |sign: char, list: &[(HeaderName, HeaderValue)]| -> Vec<String> {
        list.iter().map(|(name, _)| format!("{sign}{name}")).collect()
    };
    let mut names: Vec<String> = rules.remove.iter().map(|name| format!("-{name}")).collect();
    names.extend(with('=', &rules.set));
    names.extend(with('+', &rules.add));
    Some(format!("{whose}: {}", names.join(" ")))
}

/// How responses are compressed.
pub(super) fn compressed(settings: &Compression) -> String {
    let Compression { algorithms, min_length, types } = settings;
    let algorithms: Vec<_> = algorithms.iter().map(|coding| coding.as_str()).collect();
    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
    let least = Size(*min_length).show();
    format!("{} of {least} and more of {}", algorithms.join(", "), types.join(", "))
}

/// Which statuses have a page of their own.
pub(super) fn pages(pages: &ErrorPages) -> Option<String> {
    let shown = pages.0.iter().map(|((first, last), pages)| {
        let files = pages.iter().map(|page| page.path.display().to_string());
        format!("{} {}", StatusRange(*first, *last).show(), files.collect::<Vec<_>>().join(" "))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    (!shown.is_empty()).then(|| format!("pages: {shown}"))
}

//! The dashboard: one page, nothing loaded from anywhere else.

use std::sync::{Arc, LazyLock, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use rand_core::Rng;

use super::Admin;

/// Stands where the page's one-time word goes.
const NONCE: &str = "@NONCE@";

/// The page without its nonce.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("page/dashboard.html")
        .replace("/* @STYLE@ */", include_str!("page/dashboard.css"))
        .replace("/* @SCRIPT@ */", include_str!("page/dashboard.js"))
});

/// The dashboard. It holds no figures: its script asks for them, with the token if one is needed.
pub(super) async fn page(State(admin): State<Arc<Admin>>) -> Response {
    let nonce = {
        let mut rng = admin.rng.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64())
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let fields =
        [(CONTENT_TYPE, "text/html; charset=utf-8".into()), (CONTENT_SECURITY_POLICY, policy)];
    (fields, PAGE.replace(NONCE, &nonce)).into_response()
}

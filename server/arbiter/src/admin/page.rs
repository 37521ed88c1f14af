//! `GET /`: a page that shows the pool. It holds no data; its script follows `/watch` with the user's token.

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};

use super::AdminState;
use crate::problem::Problem;

/// One document without anything beside it.
const PAGE: &str = concat!(
    r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Podicorn</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%234c5fd5'/%3E%3Cpath d='M8 2.5 10 9H6z' fill='%23fff'/%3E%3Ccircle cx='8' cy='11.5' r='2' fill='%23fff'/%3E%3C/svg%3E">
<style>
"#,
    include_str!("page/style.css"),
    "</style>\n</head>\n<body>\n",
    include_str!("page/body.html"),
    "<script>\n\"use strict\";\n(() => {\n",
    include_str!("page/figures.js"),
    include_str!("page/view.js"),
    include_str!("page/live.js"),
    "})();\n</script>\n</body>\n</html>\n",
);

/// The page brings its own style and script and talks to its own origin; nothing may frame it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

pub(super) async fn page(State(state): State<AdminState>) -> Result<Response, Problem> {
    state.access.shows_page()?;
    Ok((HEADERS, Html(PAGE)).into_response())
}

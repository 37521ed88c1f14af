//! The table of routes. The router, the `Allow` header and the OpenAPI document are made from it.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};

use super::access::guard;
use super::openapi::Operation;
use super::{AdminState, config, drain, health, metrics, openapi, page, reload, scale, watch, workers};
use crate::problem::Problem;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Openness {
    /// Everybody.
    Open,
    /// Everybody where guarded routes are served at all: the route holds no data.
    Page,
    /// Passes through [`guard`].
    Guarded,
}

/// The methods that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// HEAD comes with it.
    Get,
    Put,
    Post,
}

impl Verb {
    /// The key of an OpenAPI path item.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) verb: Verb,
    pub(super) openness: Openness,
    pub(super) describe: fn() -> Operation,
    handler: fn() -> MethodRouter<AdminState>,
}

macro_rules! endpoint {
    ($verb:ident $path:literal, $openness:ident, $method:ident($handler:path), $describe:ident) => {
        Endpoint {
            path: $path,
            verb: Verb::$verb,
            openness: Openness::$openness,
            describe: openapi::$describe,
            handler: || $method($handler),
        }
    };
}

pub(super) const ENDPOINTS: &[Endpoint] = &[
    endpoint!(Get "/", Page, get(page::page), page),
    endpoint!(Get "/livez", Open, get(health::livez), livez),
    endpoint!(Get "/startupz", Open, get(health::startupz), startupz),
    endpoint!(Get "/readyz", Open, get(health::readyz), readyz),
    endpoint!(Get "/metrics", Open, get(metrics::metrics), metrics),
    endpoint!(Get "/workers", Guarded, get(workers::workers), workers),
    endpoint!(Get "/workers/{slot}/stack", Guarded, get(workers::stack), stack),
    endpoint!(Get "/watch", Guarded, get(watch::watch), watch),
    endpoint!(Get "/scale", Guarded, get(scale::get), scale_get),
    endpoint!(Put "/scale", Guarded, put(scale::put), scale_put),
    endpoint!(Post "/scale/ttin", Guarded, post(scale::ttin), ttin),
    endpoint!(Post "/scale/ttou", Guarded, post(scale::ttou), ttou),
    endpoint!(Post "/reload", Guarded, post(reload::reload), reload),
    endpoint!(Post "/drain", Guarded, post(drain::drain), drain),
    endpoint!(Get "/config", Guarded, get(config::config), config),
    endpoint!(Get "/openapi.json", Guarded, get(openapi::document), document_operation),
];

/// The whole API for one listener.
pub fn router(state: AdminState) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        let mut handler = (endpoint.handler)();
        if endpoint.openness == Openness::Guarded {
            // route_layer: only a method that exists asks for the token; others are 405 for everybody.
            handler = handler.route_layer(from_fn_with_state(state.clone(), guard));
        }
        router = router.route(endpoint.path, handler);
    }
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(state)
}

async fn not_found(State(_): State<AdminState>, uri: Uri) -> Problem {
    Problem::blank(StatusCode::NOT_FOUND, format!("There is no route {}.", uri.path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let path = request.uri().path();
    let allowed: Vec<&str> = ENDPOINTS
        .iter()
        .filter(|endpoint| matches_template(endpoint.path, path))
        .map(|endpoint| endpoint.verb.allow())
        .collect();
    let allowed = allowed.join(", ");
    let problem = Problem::blank(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} does not take {}; it takes {allowed}.", request.method()),
    );
    match HeaderValue::from_str(&allowed) {
        Ok(value) => problem.with_header(ALLOW, value),
        Err(_) => problem,
    }
}

/// Whether a path fits a template whose `{…}` stand for one segment each.
fn matches_template(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(segment)) if expected.starts_with('{') || expected == segment => {}
            _ => return false,
        }
    }
}

//! Routes: which answer a request gets.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, ALLOW, CONNECTION, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, StatusCode};

use super::app::App;
use super::error_bodies::{head_too_large, MAX_HEAD};
use super::http_error::{json_reply, HttpError, Reply};
use super::url_name::unescaped;
use super::{about, classify, generate, infer, openapi, steps, stream};

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Page,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Models,
    Samples,
    Steps,
    Stream,
    Generate,
    Classify,
    Server,
    Model,
    ModelReady,
    Infer,
}

/// A method and a path, in which `{model}` stands for any name.
#[derive(Debug)]
struct Route {
    method: Method,
    path: &'static str,
    endpoint: Endpoint,
    /// Whether it is for everybody, with a key or without.
    is_open: bool,
}

const fn open(path: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::GET, path, endpoint, is_open: true }
}

const fn get(path: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::GET, path, endpoint, is_open: false }
}

const fn post(path: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::POST, path, endpoint, is_open: false }
}

/// All routes. Probes, the page and the description of the interface are open: there is nothing of a model in them.
static ROUTES: [Route; 23] = [
    open("/", Endpoint::Page),
    open("/healthz", Endpoint::Live),
    open("/readyz", Endpoint::Ready),
    get("/metrics", Endpoint::Metrics),
    open("/openapi.json", Endpoint::OpenApi),
    post("/predict", Endpoint::Classify),
    post("/predict/{model}", Endpoint::Classify),
    get("/v1/models", Endpoint::Models),
    get("/v1/samples", Endpoint::Samples),
    post("/v1/steps", Endpoint::Steps),
    post("/v1/stream", Endpoint::Stream),
    post("/v1/stream/{model}", Endpoint::Stream),
    post("/v1/generate", Endpoint::Generate),
    post("/v1/generate/{model}", Endpoint::Generate),
    open("/v2", Endpoint::Server),
    open("/v2/health/live", Endpoint::Live),
    open("/v2/health/ready", Endpoint::Ready),
    get("/v2/models/{model}", Endpoint::Model),
    get("/v2/models/{model}/ready", Endpoint::ModelReady),
    post("/v2/models/{model}/infer", Endpoint::Infer),
    get("/v2/models/{model}/versions/1", Endpoint::Model),
    get("/v2/models/{model}/versions/1/ready", Endpoint::ModelReady),
    post("/v2/models/{model}/versions/1/infer", Endpoint::Infer),
];
/// What stands before a version in a path; all models have version 1.
const VERSIONS: &str = "/versions/";

/// The paths of all routes, in their order.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.path)
}

/// Answers a request, and counts it.
pub(super) async fn respond(app: &Arc<App>, request: Request<Incoming>) -> Reply {
    let begin = Instant::now();
    let method = request.method().clone();
    let found = check_head(&request).and_then(|()| find(&method, request.uri().path()));
    let route = found.as_ref().ok().map(|(route, _)| *route);
    let answer = match found {
        Ok((route, model)) => answer(app, &ROUTES[route], model.as_deref(), request).await,
        Err(error) => Err(error),
    };
    let mut reply = answer.unwrap_or_else(|error| error.reply());
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !app.is_ready() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (status, time) = (reply.status().as_u16(), begin.elapsed());
    app.metrics.answered(route, status, time);
    let route = route.map_or("other", |route| ROUTES[route].path);
    tracing::debug!(%method, route, status, seconds = time.as_secs_f64(), "answered");
    reply
}

/// Checks that a request's head is not too large: hyper holds to the limit only a head that arrives in pieces.
///
/// # Errors
/// 431 for one that is.
fn check_head(request: &Request<Incoming>) -> Result<(), HttpError> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(1, |path| path.as_str().len());
    // What a client writes in the place of a path that stands alone.
    let origin = uri.authority().map_or(0, |host| "http://".len() + host.as_str().len());
    let first = request.method().as_str().len() + "  HTTP/1.1\r\n".len() + origin + target;
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if first + headers.sum::<usize>() + "\r\n".len() <= MAX_HEAD {
        return Ok(());
    }
    Err(HttpError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, head_too_large())
        .with_header(CONNECTION, HeaderValue::from_static("close")))
}

/// The number of the route of a request, and the name in its path.
///
/// # Errors
/// 404 for a path that is none, 405 for another method.
fn find(method: &Method, path: &str) -> Result<(usize, Option<String>), HttpError> {
    // The answer to HEAD is that to GET, whose body hyper leaves out.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut other: Option<&Method> = None;
    for (number, route) in ROUTES.iter().enumerate() {
        let Some(name) = matched(route.path, path) else { continue };
        if route.method == *method {
            return Ok((number, name));
        }
        other = Some(&route.method);
    }
    let Some(allowed) = other else {
        let message = if path.starts_with("/v2/models/") && path.contains(VERSIONS) {
            "models have the version 1 alone: leave versions out of the path, or say /versions/1"
        } else {
            "there is nothing at this path: /openapi.json says what there is"
        };
        return Err(HttpError::new(StatusCode::NOT_FOUND, message));
    };
    let header = if *allowed == Method::GET { "GET, HEAD" } else { "POST" };
    let message = format!("this path takes {allowed}, not {method}");
    Err(HttpError::new(StatusCode::METHOD_NOT_ALLOWED, message)
        .with_header(ALLOW, HeaderValue::from_static(header)))
}

/// The name that stands for `{model}` in a path, if it is one of a pattern; `None` in it for a pattern without a name.
fn matched(pattern: &str, path: &str) -> Option<Option<String>> {
    let Some((before, after)) = pattern.split_once("{model}") else {
        return (pattern == path).then_some(None);
    };
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    if name.is_empty() || name.contains('/') {
        return None;
    }
    unescaped(name).map(Some)
}

async fn answer(
    app: &Arc<App>,
    route: &Route,
    model: Option<&str>,
    request: Request<Incoming>,
) -> Result<Reply, HttpError> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let is_admitted = route.is_open || app.key.as_ref().is_none_or(|key| key.admits(headers));
    if !is_admitted {
        let message = "this server wants a key: send it as Authorization: Bearer KEY";
        return Err(HttpError::new(StatusCode::UNAUTHORIZED, message)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    let name = model.unwrap_or_default();
    match route.endpoint {
        Endpoint::Page => Ok(about::page()),
        Endpoint::Live => Ok(about::live()),
        Endpoint::Ready => about::ready(app),
        Endpoint::Metrics => Ok(about::metrics(app)),
        Endpoint::OpenApi => Ok(json_reply(&openapi::document())),
        Endpoint::Models => Ok(about::models(app)),
        Endpoint::Samples => about::samples(),
        Endpoint::Steps => steps::steps(app, headers, body).await,
        Endpoint::Stream => stream::stream(app, model, head.uri.query(), headers, body),
        Endpoint::Generate => generate::generate(app, model, headers, body).await,
        Endpoint::Classify => classify::classify(app, model, headers, body).await,
        Endpoint::Server => Ok(about::server()),
        Endpoint::Model => {
            let (_, model) = app.model(Some(name), |_| true)?;
            Ok(json_reply(&infer::metadata(model)?))
        }
        Endpoint::ModelReady => {
            app.model(Some(name), |_| true)?;
            about::ready(app)
        }
        Endpoint::Infer => infer::infer(app, name, headers, body).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_has_every_route_and_no_other() {
        let document = openapi::document();
        let mut described: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described.push(format!("{method} {path}"));
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let has_name = parameters.iter().any(|parameter| parameter["in"] == "path");
                assert_eq!(path.contains("{model}"), has_name, "{path}");
                let is_open = operation["security"] == serde_json::json!([]);
                let route = ROUTES.iter().find(|route| route.path == path).unwrap();
                assert_eq!(is_open, route.is_open, "{path}");
            }
        }
        let mut routes: Vec<String> = ROUTES
            .iter()
            .map(|route| format!("{} {}", route.method.as_str().to_lowercase(), route.path))
            .collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
    }

    #[test]
    fn names_in_paths_are_one_segment() {
        let infer = |path: &str| find(&Method::POST, path).ok().map(|(_, name)| name);
        assert_eq!(infer("/v2/models/0001/infer"), Some(Some("0001".into())));
        assert_eq!(infer("/predict"), Some(None));
        assert_eq!(infer("/predict/run"), Some(Some("run".into())));
        assert_eq!(infer("/predict/my%20run"), Some(Some("my run".into())));
        assert_eq!(infer("/v2/models/a/versions/1/infer"), Some(Some("a".into())));
        for wrong in [
            "/v2/models//infer",
            "/v2/models/a/b/infer",
            "/predict/",
            "/predict/a/",
            "//predict",
            "/predict/%zz",
        ] {
            let error = find(&Method::POST, wrong).unwrap_err();
            assert_eq!(error.status, StatusCode::NOT_FOUND, "{wrong}");
        }
        let error = find(&Method::POST, "/v2/models/a/versions/2/infer").unwrap_err();
        assert!(error.status == 404 && error.message.contains("version 1 alone"), "{error:?}");
        assert_eq!(find(&Method::HEAD, "/healthz").unwrap().0, 1);
        let error = find(&Method::DELETE, "/predict").unwrap_err();
        assert_eq!(error.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

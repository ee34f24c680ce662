//! The outermost layer of every request: its id, its slot, its deadline, its problem document, its line in the access log
//! and its metrics. Bodies and tokens never reach the log.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Result};

use crate::app::App;
use crate::code::Code;
use crate::error::Problem;
use crate::route_table::RouteTable;

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest a request may take. Longer than one round trip to Redis may take (5 s), so that most answers that come
/// late still come.
const DEADLINE: Duration = Duration::from_secs(8);
const UNMATCHED: &str = "unmatched";

/// What the layers of one request tell each other.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    id: Arc<str>,
    caller: Arc<OnceLock<Arc<str>>>,
}

impl RequestContext {
    /// Takes the client's id where it is harmless, otherwise gives one.
    fn of(request: &Request) -> Self {
        let fine = |id: &&str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        };
        let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(fine);
        let id = given.map_or_else(|| ulid::Ulid::new().to_string().into(), Into::into);
        Self { id, caller: Arc::default() }
    }

    pub(crate) fn set_caller(&self, name: &Arc<str>) {
        // Only the first of several keys is logged; a request has one.
        let _ = self.caller.set(Arc::clone(name));
    }
}

/// Wraps the routes.
pub(crate) struct Shell<E> {
    inner: E,
    app: Arc<App>,
    routes: RouteTable,
}

impl<E: Endpoint> Shell<E> {
    pub(crate) fn new(inner: E, app: Arc<App>, routes: RouteTable) -> Self {
        Self { inner, app, routes }
    }

    /// Runs the request within its bounds.
    async fn bounded(&self, request: Request) -> Response {
        // Liveness and metrics tell of an overload; they must not fall to it.
        let exempt = matches!(request.uri().path(), "/healthz" | "/metrics");
        let slot = self.app.slots.try_acquire();
        if slot.is_err() && !exempt {
            return poem::Error::from(Problem::new(
                Code::Overloaded,
                "too many requests are in flight. Nothing was written: send the same request again",
            ))
            .into_response();
        }
        let run = AssertUnwindSafe(self.inner.get_response(request)).catch_unwind();
        match tokio::time::timeout(DEADLINE, run).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                poem::Error::from(Problem::internal(format!("panic: {text}"))).into_response()
            }
            Err(_) => poem::Error::from(Problem::new(
                Code::TimedOut,
                format!(
                    "no answer within {} s. Whether it took effect is not known: send the same request again, it is \
                     recognised",
                    DEADLINE.as_secs()
                ),
            ))
            .into_response(),
        }
    }
}

/// The problem that a response stands for: ours, or one that the framework answered in plain text.
async fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.data::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    let ours = response.content_type().is_some_and(|kind| kind.starts_with("application/"));
    if !(status.is_client_error() || status.is_server_error()) || ours {
        return None;
    }
    let text = response.take_body().into_string().await.unwrap_or_default();
    Some(Problem::of_framework(status, &text))
}

impl<E: Endpoint> Endpoint for Shell<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let context = RequestContext::of(&request);
        request.set_data(context.clone());
        request.set_data(Arc::clone(&self.app));
        let (method, uri) = (request.method().clone(), request.uri().clone());

        let mut response = self.bounded(request).await;
        let route = self.routes.find(uri.path());
        let query = uri.query().unwrap_or_default();
        let problem = problem_of(&mut response).await.map(|problem| with_query_value(problem, query));
        if let Some(problem) = &problem {
            response = problem.respond(&context.id);
        }
        if let (StatusCode::METHOD_NOT_ALLOWED, Some(route)) = (response.status(), route)
            && let Ok(allow) = HeaderValue::from_str(&route.allow)
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if let Ok(id) = HeaderValue::from_str(&context.id) {
            response.headers_mut().insert(REQUEST_ID.clone(), id);
        }
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

        let template = route.map_or(UNMATCHED, |route| route.template.as_str());
        let done =
            Done { method: label(&method), template, status: response.status(), took: started.elapsed() };
        self.record(&done, &context, problem.as_ref());
        Ok(response)
    }
}

/// What the framework refused in a query, as it was given.
fn with_query_value(problem: Problem, query: &str) -> Problem {
    let Some(field) = problem.field().filter(|_| problem.value_is_missing()).map(str::to_owned) else {
        return problem;
    };
    let given = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == field);
    match given {
        Some((_, value)) => problem.value(value),
        None => problem,
    }
}

struct Done<'a> {
    method: &'static str,
    template: &'a str,
    status: StatusCode,
    took: Duration,
}

impl<E> Shell<E> {
    fn record(&self, done: &Done<'_>, context: &RequestContext, problem: Option<&Problem>) {
        let metrics = &self.app.metrics;
        metrics.request(done.template, done.method, done.status.as_u16(), done.took);
        if let Some(problem) = problem {
            metrics.problem(problem.code);
        }
        let ms = u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX);
        let code = problem.map(|problem| problem.code.name());
        let cause = problem.and_then(Problem::logged_cause);
        let key = context.caller.get().map(|name| &**name);
        let (status, route, method) = (done.status.as_u16(), done.template, done.method);
        let request_id = &*context.id;
        if status >= 500 {
            tracing::warn!(
                http.method = method,
                http.route = route,
                http.status = status,
                http.ms = ms,
                request.id = request_id,
                key.name = key,
                problem.code = code,
                error = cause,
                "request failed"
            );
        } else {
            tracing::info!(
                http.method = method,
                http.route = route,
                http.status = status,
                http.ms = ms,
                request.id = request_id,
                key.name = key,
                problem.code = code,
                "request"
            );
        }
    }
}

/// A bounded set of names: callers may invent methods.
fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

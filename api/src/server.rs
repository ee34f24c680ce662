//! Puts the routes behind the shell and serves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::make_sync;
use poem::http::header;
use poem::listener::{Acceptor, Listener, TcpAcceptor, TcpListener};
use poem::{Endpoint, IntoEndpoint as _, Request, Response, Result, Route, Server, get};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::route_table::RouteTable;
use crate::shell::Shell;
use crate::spec;

/// A connection without traffic for this long is closed.
const IDLE: Duration = Duration::from_secs(75);
/// How long requests in flight may take once shutdown began; above the deadline of one request.
pub const DRAIN: Duration = Duration::from_secs(10);
const DOCUMENT: &str = "/openapi.json";
const DOCS: &str = "/docs";
/// Nothing may be fetched from elsewhere: the page brings all it needs.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Everything that is served.
pub(crate) fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let document = spec::document();
    let text = spec::text();
    let service = spec::service();
    let page = service.swagger_ui_html().replace(&service.spec(), &text);
    let routes = RouteTable::of_document(&document, &[DOCUMENT, DOCS]);
    let document =
        make_sync(move |_| Response::builder().content_type("application/json").body(text.clone()));
    let docs = make_sync(move |_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)
            .body(page.clone())
    });
    let documents = Route::new().at(DOCUMENT, get(document)).at(DOCS, get(docs));
    Shell::new(Served { documents, service: service.into_endpoint() }, app, routes)
}

/// The documents at their paths, and the service at all others. A service that is nested has each path written anew.
struct Served<S> {
    documents: Route,
    service: S,
}

impl<S: Endpoint<Output = Response>> Endpoint for Served<S> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        match request.uri().path() {
            DOCUMENT | DOCS => self.documents.call(request).await,
            _ => self.service.call(request).await,
        }
    }
}

/// A bound address, not serving yet.
pub struct Listening {
    acceptor: TcpAcceptor,
    pub address: SocketAddr,
}

impl Listening {
    /// Takes the address; port 0 takes a free one.
    pub async fn on(address: SocketAddr) -> std::io::Result<Self> {
        let acceptor = TcpListener::bind(address).into_acceptor().await?;
        let bound = acceptor.local_addr().iter().find_map(|local| local.as_socket_addr().copied());
        Ok(Self { acceptor, address: bound.unwrap_or(address) })
    }

    /// Serves until `shutdown`; then accepts nothing more and drains.
    pub async fn serve(self, app: Arc<App>, shutdown: CancellationToken) {
        let server = Server::new_with_acceptor(self.acceptor).name("api").idle_timeout(IDLE);
        let end =
            server.run_with_graceful_shutdown(endpoint(app), shutdown.cancelled_owned(), Some(DRAIN)).await;
        if let Err(error) = end {
            tracing::error!(%error, "the server ended");
        }
    }
}

//! How commands travel to Redis: over TCP, or over whatever a simulation puts in its place. Everything above this file is
//! the same in both.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{Arg, Cmd, Pipeline, RedisFuture, RedisResult, Value};

use super::RESPONSE_TIMEOUT;
use super::error::StoreError;

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections for reading lists; the hot paths share one long-lived connection instead.
const POOL_SIZE: usize = 8;

/// A way to a Redis that is no TCP connection. A failure says nothing about whether the command was executed, as with a
/// connection that broke.
pub trait Wire: Send + Sync + 'static {
    /// Sends one command, its name and arguments, and brings the reply. Whoever reads with `BLOCK` waits here.
    fn call(&self, command: Vec<Vec<u8>>) -> BoxFuture<'_, RedisResult<Value>>;
}

/// Where connections come from. Cheap to clone.
#[derive(Clone)]
pub(super) enum Link {
    Tcp(Box<Tcp>),
    Wire(Arc<dyn Wire>),
}

/// The ways to a server.
#[derive(Clone)]
pub(super) struct Tcp {
    client: redis::Client,
    hot: ConnectionManager,
    pool: deadpool_redis::Pool,
}

impl Link {
    pub(super) async fn tcp(url: &str) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Redis { operation: "connect", source };
        let client = redis::Client::open(url).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let hot = client.get_connection_manager_with_config(config).await.map_err(failed)?;
        let mut pool = deadpool_redis::Config::from_url(url);
        pool.pool = Some(deadpool_redis::PoolConfig::new(POOL_SIZE));
        let pool = pool
            .create_pool(Some(deadpool_redis::Runtime::Tokio1))
            .map_err(|error| StoreError::Pool { operation: "connect", detail: error.to_string() })?;
        Ok(Self::Tcp(Box::new(Tcp { client, hot, pool })))
    }

    /// The connection that is always there and that the hot paths share.
    pub(super) fn hot(&self) -> Connection {
        match self {
            Self::Tcp(tcp) => Connection::Hot(tcp.hot.clone()),
            Self::Wire(wire) => Connection::Wire(wire.clone()),
        }
    }

    /// One of a few, for reads that may take longer.
    pub(super) async fn pooled(&self, operation: &'static str) -> Result<Connection, StoreError> {
        match self {
            // Boxed: seven kilobytes, which each future around it would carry and move.
            Self::Tcp(tcp) => match Box::pin(tcp.pool.get()).await {
                Ok(connection) => Ok(Connection::Pooled(connection)),
                Err(error) => Err(StoreError::Pool { operation, detail: error.to_string() }),
            },
            Self::Wire(wire) => Ok(Connection::Wire(wire.clone())),
        }
    }

    /// A connection for blocking reads: its response timeout is off, so nothing else may share it, and each read needs
    /// a deadline of its own.
    pub(super) async fn blocking(&self, operation: &'static str) -> Result<Connection, StoreError> {
        match self {
            Self::Tcp(tcp) => {
                let config = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECTION_TIMEOUT))
                    .set_response_timeout(None);
                let connection = tcp.client.get_multiplexed_async_connection_with_config(&config).await;
                let connection = connection.map_err(|source| StoreError::Redis { operation, source })?;
                Ok(Connection::Blocking(connection))
            }
            Self::Wire(wire) => Ok(Connection::Wire(wire.clone())),
        }
    }
}

/// One connection, of whatever kind.
pub(super) enum Connection {
    Hot(ConnectionManager),
    Pooled(deadpool_redis::Connection),
    Blocking(MultiplexedConnection),
    Wire(Arc<dyn Wire>),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Hot(connection) => connection.req_packed_command(cmd),
            Self::Pooled(connection) => connection.req_packed_command(cmd),
            Self::Blocking(connection) => connection.req_packed_command(cmd),
            Self::Wire(wire) => wire.call(words(cmd)).boxed(),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Hot(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Pooled(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Blocking(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Wire(wire) => pipelined(wire.clone(), pipeline).boxed(),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// One command after the other; the store has no transactions but its scripts. As over TCP, what Redis says against one
/// command keeps it from none of the others, and is then the pipeline's error.
async fn pipelined(wire: Arc<dyn Wire>, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    let (mut replies, mut refused) = (Vec::new(), None);
    for cmd in pipeline.cmd_iter() {
        match wire.call(words(cmd)).await {
            Ok(reply) => replies.push(reply),
            Err(error) if error.code().is_some() => _ = refused.get_or_insert(error),
            Err(error) => return Err(error),
        }
    }
    refused.map_or(Ok(replies), Err)
}

fn words(cmd: &Cmd) -> Vec<Vec<u8>> {
    let word = |arg: Arg<&[u8]>| match arg {
        Arg::Simple(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    };
    cmd.args_iter().map(word).collect()
}

//! A Redis for tests: a container where an engine answers, otherwise a local `redis-server`. One helper, same tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};

const ARGS: [&str; 8] =
    ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", ""];

/// A private Redis with `appendfsync always`; gone when dropped.
pub struct TestRedis {
    url: String,
    backend: Backend,
}

enum Backend {
    Container(#[allow(dead_code, reason = "held for its drop")] Box<ContainerAsync<GenericImage>>),
    Local { server: Child, data: tempfile::TempDir, port: u16 },
}

impl TestRedis {
    /// Starts one, and says which kind.
    pub async fn start() -> Self {
        let image = GenericImage::new("redis", "7.4").with_exposed_port(6379.tcp());
        let image = image.with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"));
        let command = std::iter::once("redis-server").chain(ARGS);
        match image.with_cmd(command).start().await {
            Ok(container) => {
                let port = container.get_host_port_ipv4(6379).await.expect("the container's port");
                eprintln!("Redis for this test: a container on port {port}");
                let url = format!("redis://127.0.0.1:{port}/");
                Self { url, backend: Backend::Container(Box::new(container)) }
            }
            Err(TestcontainersError::Client(_)) => Self::local(),
            Err(error) => panic!("the container engine answers, but cannot start Redis: {error}"),
        }
    }

    fn local() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let server = spawn(port, data.path());
        eprintln!("Redis for this test: a local redis-server on port {port} (no container engine answers)");
        let redis = Self {
            url: format!("redis://127.0.0.1:{port}/"),
            backend: Backend::Local { server, data, port },
        };
        wait_until_it_answers(port);
        redis
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server and starts it again on the same data; a new `run_id`. `false` where a container backs it.
    pub fn restart(&mut self) -> bool {
        let Backend::Local { server, data, port } = &mut self.backend else { return false };
        stop(server);
        *server = spawn(*port, data.path());
        wait_until_it_answers(*port);
        true
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        if let Backend::Local { server, .. } = &mut self.backend {
            stop(server);
        }
    }
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn spawn(port: u16, data: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(data)
        .args(ARGS)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server: run scripts/setup")
}

fn stop(server: &mut Child) {
    // The process is our own child; errors mean that it is gone already.
    let _ = server.kill();
    let _ = server.wait();
}

fn wait_until_it_answers(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answers = redis::Client::open(("127.0.0.1", port))
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
        if answers.is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "redis-server on port {port} does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
}

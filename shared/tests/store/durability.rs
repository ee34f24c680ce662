//! A policy is checked before it is relied on, and a write that did not reach it is an error.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shared::ids::BlockNumber;
use shared::store::{Durability, DurabilityProblem as Problem, Intake, Registered, Store, StoreError};
use shared::testing::free_port;

use crate::support::{registration, take_lease, wallet};

/// A redis-server with options of its own; killed when dropped.
struct Server {
    child: Child,
    _data: tempfile::TempDir,
    port: u16,
}

impl Server {
    async fn start(options: &[&str]) -> Self {
        let (data, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(data.path());
        command.args(["--repl-diskless-sync-delay", "0"]).args(options);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server");
        let server = Self { child, _data: data, port };
        // Until it answers, connecting fails at once; the client's own retries are the wait.
        let mut tries = 0;
        while server.store(Durability::None).await.is_err() {
            tries += 1;
            assert!(tries < 200, "redis-server does not answer");
        }
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    async fn store(&self, durability: Durability) -> Result<Store, StoreError> {
        Store::connect(&self.url(), &"main".parse().unwrap(), durability).await
    }

    async fn problems(&self, durability: Durability) -> Vec<Problem> {
        self.store(durability).await.unwrap().check_durability().await.unwrap()
    }

    async fn raw<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FINE: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];

#[tokio::test]
async fn a_server_that_provides_the_policy_has_no_problems() {
    let server = Server::start(&FINE).await;
    assert_eq!(server.problems(Durability::Always).await, []);
    assert_eq!(server.problems(Durability::Replicas(0)).await, []);
}

#[tokio::test]
async fn every_problem_is_listed_not_only_the_first() {
    let options = ["--appendonly", "no", "--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&options).await;
    let settings = [
        Problem::NoAof("no".into()),
        Problem::Fsync("everysec".into()),
        Problem::Eviction("allkeys-lru".into()),
    ];
    assert_eq!(server.problems(Durability::Always).await, settings);
    let mut with_replicas = settings.to_vec();
    with_replicas.push(Problem::Replicas { wanted: 2, connected: 0 });
    assert_eq!(server.problems(Durability::Replicas(2)).await, with_replicas);
    assert_eq!(server.problems(Durability::None).await, []);
    assert_eq!(server.problems(Durability::Trust).await, []);
}

#[tokio::test]
async fn each_setting_alone_is_a_problem() {
    let server = Server::start(&FINE).await;
    for (name, bad, problem) in [
        ("appendfsync", "everysec", Problem::Fsync("everysec".into())),
        ("appendfsync", "no", Problem::Fsync("no".into())),
        ("appendonly", "no", Problem::NoAof("no".into())),
        ("maxmemory-policy", "volatile-ttl", Problem::Eviction("volatile-ttl".into())),
    ] {
        let good: Vec<String> = server.raw(redis::cmd("CONFIG").arg("GET").arg(name)).await;
        let _: () = server.raw(redis::cmd("CONFIG").arg("SET").arg(name).arg(bad)).await;
        assert_eq!(server.problems(Durability::Always).await, [problem]);
        let _: () = server.raw(redis::cmd("CONFIG").arg("SET").arg(name).arg(&good[1])).await;
    }
}

#[tokio::test]
async fn a_replica_is_refused_whatever_the_policy() {
    let primary = Server::start(&FINE).await;
    let of = format!("127.0.0.1 {}", primary.port);
    let replica = Server::start(&[&FINE[..], &["--replicaof", &of]].concat()).await;
    for policy in [Durability::Always, Durability::None, Durability::Trust] {
        assert_eq!(replica.problems(policy).await, [Problem::Role("slave".into())]);
    }
}

#[tokio::test]
async fn a_provider_that_hides_its_settings_is_named_as_such() {
    let server = Server::start(&FINE).await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("app").arg("on").arg(">secret").arg("~*").arg("+@all").arg("-config");
    let _: () = server.raw(&mut user).await;
    let url = format!("redis://app:secret@127.0.0.1:{}/", server.port);
    let lane = "main".parse().unwrap();
    let store = Store::connect(&url, &lane, Durability::Always).await.unwrap();
    assert_eq!(store.check_durability().await.unwrap(), [Problem::Hidden("NOPERM".into())]);
    let store = Store::connect(&url, &lane, Durability::Trust).await.unwrap();
    assert_eq!(store.check_durability().await.unwrap(), []);
}

#[tokio::test]
async fn waitaof_is_asked_only_of_servers_that_know_it() {
    let server = Server::start(&FINE).await;
    let info: String = server.raw(redis::cmd("INFO").arg("server")).await;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().trim();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    let knows = (parts.next().unwrap(), parts.next().unwrap()) >= (7, 2);
    let problems = server.problems(Durability::WaitAof { local: 1, replicas: 0 }).await;
    let expected = if knows { vec![] } else { vec![Problem::Version(version.to_owned())] };
    assert_eq!(problems, expected);
    if knows {
        let store = server.store(Durability::WaitAof { local: 1, replicas: 0 }).await.unwrap();
        assert!(store.close_gate("float", "test", "test").await.unwrap());
    }
}

#[tokio::test]
async fn a_write_is_answered_once_a_replica_has_it_and_fails_when_none_is_left() {
    let primary = Server::start(&FINE).await;
    let of = format!("127.0.0.1 {}", primary.port);
    let mut replica = Server::start(&[&FINE[..], &["--replicaof", &of]].concat()).await;
    let store = primary.store(Durability::Replicas(1)).await.unwrap();
    store.migrate().await.unwrap();
    let reached: u32 = primary.raw(redis::cmd("WAIT").arg(1).arg(20_000)).await;
    assert_eq!(reached, 1, "the replica never came");
    assert_eq!(store.check_durability().await.unwrap(), []);

    let fence = take_lease(&store, "boot").await;
    let run_id = store.sync_state().await.unwrap().run_id;
    assert!(store.set_synced(&fence, &run_id, BlockNumber::new(1)).await.unwrap());
    // The script is not loaded yet, so this goes the longer way through the pipeline.
    let first = registration(wallet(1), Some(wallet(2)));
    let Intake::Open(Registered::Accepted { job }) = store.register(&first).await.unwrap() else {
        panic!("refused")
    };
    let copied: String =
        replica.raw(redis::cmd("HGET").arg(format!("ail:{{main}}:job:{job}")).arg("stage")).await;
    assert_eq!(copied, "queued");

    replica.kill();
    let started = std::time::Instant::now();
    let answer = store.register(&registration(wallet(3), Some(wallet(2)))).await;
    assert!(matches!(answer, Err(StoreError::NotDurable { operation: "register", .. })), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(4));
    // Nor is a repetition, which changes nothing, any more durable.
    let again = store.register(&first).await;
    assert!(matches!(again, Err(StoreError::NotDurable { .. })), "{again:?}");
    let problem = Problem::Replicas { wanted: 1, connected: 0 };
    assert_eq!(store.check_durability().await.unwrap(), [problem]);
}

//! A real Redis whose clock stands still until the test moves it, so that its answers and ours can be equal to the
//! millisecond. Every other part of it is as shipped.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{ConnectionLike, RedisResult, Value};

pub(crate) struct Real {
    server: Child,
    /// Held for its drop.
    _folder: tempfile::TempDir,
    clock: fs::File,
    connection: redis::Connection,
}

impl Real {
    pub(crate) fn start(now: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let library = compile_clock(folder.path());
        let clock = fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(folder.path().join("clock"))
            .expect("the clock's file");
        set(&clock, now);
        let mut server = Command::new("redis-server")
            // A thread of its allocator would wait for the clock, without end and without pause.
            .args(["--jemalloc-bg-thread", "no"])
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "socket", "--dir"])
            .arg(folder.path())
            .env("LD_PRELOAD", library)
            .env("SIM_CLOCK", folder.path().join("clock"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server: run scripts/setup");
        let connection = connect(&folder.path().join("socket"), &mut server);
        Self { server, _folder: folder, clock, connection }
    }

    pub(crate) fn set_clock(&self, now: u64) {
        set(&self.clock, now);
    }

    pub(crate) fn exec(&mut self, words: &[impl AsRef<[u8]>]) -> RedisResult<Value> {
        self.connection.req_command(&command(words)).and_then(Value::extract_error)
    }

    /// Many commands in one round trip.
    pub(crate) fn exec_all(&mut self, commands: &[Vec<String>]) -> Vec<Value> {
        let mut pipe = redis::pipe();
        for words in commands {
            pipe.add_command(command(words));
        }
        let replies = self.connection.req_packed_commands(&pipe.get_packed_pipeline(), 0, commands.len());
        replies.expect("what is there can be read")
    }
}

fn command(words: &[impl AsRef<[u8]>]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

impl Drop for Real {
    fn drop(&mut self) {
        // It is our own child; errors mean that it is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn set(clock: &fs::File, now: u64) {
    clock.write_all_at(&(now * 1000).to_ne_bytes(), 0).expect("the clock's file");
}

fn compile_clock(folder: &Path) -> std::path::PathBuf {
    let library = folder.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/against/redis/clock.c");
    let compiler =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(compiler.expect("cc, which Lua is built with as well").success());
    library
}

fn connect(socket: &Path, server: &mut Child) -> redis::Connection {
    let deadline = Instant::now() + Duration::from_secs(10);
    let client = redis::Client::open(format!("unix://{}", socket.display())).expect("a client");
    loop {
        if let Ok(connection) = client.get_connection() {
            return connection;
        }
        assert!(Instant::now() < deadline, "redis-server does not answer: {:?}", server.try_wait());
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! A TCP proxy with switchable faults, in front of Redis: what can happen to a connection and to the bytes on it.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use kit::world::tcp_proxy::{LinkFault, TcpProxy};
//! let link = TcpProxy::start(6379)?;
//! println!("REDIS_URL=redis://127.0.0.1:{}", link.port());
//! link.set(LinkFault::Swallow);
//! // …
//! link.set(LinkFault::Pass);
//! # Ok(()) }
//! ```
//!
//! A fault holds for every connection from the moment it is set, open ones too. The proxy knows nothing of what it carries. It
//! has a thread and a runtime of its own, and ends when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// What is wrong with the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkFault {
    /// Nothing.
    Pass,
    /// Whatever is sent arrives so many milliseconds later, in both directions.
    Delay(u64),
    /// Open connections are closed, new ones too as soon as they are made.
    Cut,
    /// Half-open: nothing arrives and nobody is told. What was sent meanwhile arrives when this is over, also requests whose
    /// senders have long given up.
    Stall,
    /// Requests are delivered, and what is answered never arrives. A connection that has lost an answer is closed when this is
    /// over: whatever came next on it would be taken for the lost one.
    Swallow,
}

/// Where a proxy listens, where it leads and what it does. Ends with its value.
pub struct TcpProxy {
    port: u16,
    fault: watch::Sender<LinkFault>,
    upstream: watch::Sender<u16>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TcpProxy {
    /// Listens on a free loopback port, in front of the loopback port `upstream`.
    pub fn start(upstream: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let port = super::ports::free()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen for TCP")?;
        listener.set_nonblocking(true)?;
        let (fault, watched) = watch::channel(LinkFault::Pass);
        let (upstream, leads_to) = watch::channel(upstream);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, watched, leads_to) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("tcp-proxy".to_owned())
            .spawn(serve)
            .context("start a thread")?;
        Ok(Self { port, fault, upstream, stop: Some(stop), thread: Some(thread) })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on the way has this fault, and no other.
    pub fn set(&self, fault: LinkFault) {
        self.fault.send_replace(fault);
    }

    pub fn fault(&self) -> LinkFault {
        *self.fault.borrow()
    }

    /// From now on the way leads to another port: open connections are closed.
    pub fn retarget(&self, upstream: u16) {
        self.upstream.send_replace(upstream);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: TcpListener, fault: watch::Receiver<LinkFault>, upstream: watch::Receiver<u16>) {
    let mut connections = JoinSet::new();
    loop {
        let near = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            Some(_) = connections.join_next() => continue,
        };
        let (mut watched, mut leads_to) = (fault.clone(), upstream.clone());
        let port = *leads_to.borrow_and_update();
        let carried = carry(near, port, fault.clone());
        connections.spawn(async move {
            tokio::select! {
                _ = watched.wait_for(|fault| *fault == LinkFault::Cut) => {}
                _ = leads_to.changed() => {}
                () = carried => {}
            }
        });
    }
}

/// Carries one connection until either side ends it.
async fn carry(near: TcpStream, port: u16, fault: watch::Receiver<LinkFault>) {
    let Ok(far) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await else { return };
    // Small questions and answers: nothing is to wait for more of them.
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let lost = Arc::new(AtomicBool::new(false));
    let mut over = fault.clone();
    let desynchronised = async {
        // Ends once an answer was lost and answers pass again.
        while over.changed().await.is_ok() {
            if *over.borrow_and_update() != LinkFault::Swallow && lost.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    tokio::select! {
        () = pump(near_in, far_out, fault.clone(), None) => {}
        () = pump(far_in, near_out, fault.clone(), Some(lost.clone())) => {}
        () = desynchronised => {}
    }
}

/// Carries one direction; `lost` is told where answers are swallowed, and is there only for the direction of answers.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<LinkFault>,
    lost: Option<Arc<AtomicBool>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let now = *fault.borrow_and_update();
        match now {
            LinkFault::Delay(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            LinkFault::Stall => {
                if fault.wait_for(|fault| *fault != LinkFault::Stall).await.is_err() {
                    return;
                }
            }
            LinkFault::Swallow => {
                if let Some(lost) = &lost {
                    lost.store(true, Ordering::Relaxed);
                    continue;
                }
            }
            LinkFault::Pass | LinkFault::Cut => {}
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A server that answers each byte with the next one, and counts what it was asked.
    struct Scene {
        proxy: TcpProxy,
        asked: watch::Receiver<u64>,
        _server: JoinSet<()>,
    }

    async fn server(add: u8) -> (u16, watch::Receiver<u64>, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, asked) = watch::channel(0);
        let count = Arc::new(count);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = count.clone();
                connections.spawn(async move {
                    let mut byte = [0u8];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        count.send_modify(|count| *count += 1);
                        if stream.write_all(&[byte[0].wrapping_add(add)]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (port, asked, tasks)
    }

    impl Scene {
        async fn start() -> Self {
            let (port, asked, server) = server(1).await;
            Self { proxy: TcpProxy::start(port).unwrap(), asked, _server: server }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.proxy.port())).await.unwrap()
        }
    }

    /// What is answered to `byte` within `millis`: nothing, the end of the connection, or a byte.
    async fn ask(stream: &mut TcpStream, byte: u8, millis: u64) -> Option<Result<u8, ()>> {
        if stream.write_all(&[byte]).await.is_err() {
            return Some(Err(()));
        }
        answer(stream, millis).await
    }

    async fn answer(stream: &mut TcpStream, millis: u64) -> Option<Result<u8, ()>> {
        let mut byte = [0u8];
        let read = tokio::time::timeout(Duration::from_millis(millis), stream.read_exact(&mut byte)).await;
        read.ok().map(|read| read.map(|_| byte[0]).map_err(|_| ()))
    }

    #[tokio::test]
    async fn without_a_fault_bytes_pass_and_with_a_delay_they_pass_later() {
        let scene = Scene::start().await;
        let mut stream = scene.connect().await;
        assert_eq!(ask(&mut stream, 1, 2_000).await, Some(Ok(2)));
        scene.proxy.set(LinkFault::Delay(100));
        let begun = Instant::now();
        assert_eq!(ask(&mut stream, 5, 5_000).await, Some(Ok(6)));
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_new_ones() {
        let scene = Scene::start().await;
        let mut open = scene.connect().await;
        assert_eq!(ask(&mut open, 1, 2_000).await, Some(Ok(2)));
        scene.proxy.set(LinkFault::Cut);
        assert_eq!(answer(&mut open, 2_000).await, Some(Err(())));
        let mut new = scene.connect().await;
        assert_eq!(ask(&mut new, 1, 2_000).await, Some(Err(())));
        scene.proxy.set(LinkFault::Pass);
        assert_eq!(ask(&mut scene.connect().await, 1, 2_000).await, Some(Ok(2)));
    }

    #[tokio::test]
    async fn a_stalled_request_arrives_late_and_is_answered() {
        let scene = Scene::start().await;
        let mut stream = scene.connect().await;
        assert_eq!(ask(&mut stream, 1, 2_000).await, Some(Ok(2)));
        scene.proxy.set(LinkFault::Stall);
        assert_eq!(ask(&mut stream, 7, 200).await, None);
        assert_eq!(*scene.asked.borrow(), 1, "it went through");
        scene.proxy.set(LinkFault::Pass);
        assert_eq!(answer(&mut stream, 2_000).await, Some(Ok(8)));
    }

    #[tokio::test]
    async fn a_swallowed_answer_was_asked_for_and_its_connection_ends() {
        let mut scene = Scene::start().await;
        let mut stream = scene.connect().await;
        scene.proxy.set(LinkFault::Swallow);
        assert_eq!(ask(&mut stream, 7, 200).await, None);
        scene.asked.wait_for(|asked| *asked == 1).await.unwrap();
        scene.proxy.set(LinkFault::Pass);
        assert_eq!(answer(&mut stream, 2_000).await, Some(Err(())), "the next answer would be the wrong one");
        assert_eq!(ask(&mut scene.connect().await, 1, 2_000).await, Some(Ok(2)));
    }

    #[tokio::test]
    async fn another_target_ends_what_is_open_and_answers_what_is_new() {
        let scene = Scene::start().await;
        let mut open = scene.connect().await;
        assert_eq!(ask(&mut open, 1, 2_000).await, Some(Ok(2)));
        let (port, _, _server) = server(9).await;
        scene.proxy.retarget(port);
        assert_eq!(answer(&mut open, 2_000).await, Some(Err(())));
        assert_eq!(ask(&mut scene.connect().await, 1, 2_000).await, Some(Ok(10)));
    }
}

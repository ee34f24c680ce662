//! The power switch of a simulated process: its tasks run only while it is on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by all tasks of one process.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    frozen: bool,
    /// Tasks that were to run while it was frozen.
    waiting: Vec<Waker>,
}

impl Switch {
    /// Stops the process where it is, as `SIGSTOP` does.
    pub(super) fn freeze(&self) {
        self.state().frozen = true;
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        let mut state = self.state();
        state.frozen = false;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `task` as one of this process's.
    pub(super) fn run(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        Switched { switch: self.clone(), task: Box::pin(task) }
    }
}

struct Switched {
    switch: Arc<Switch>,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Switched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.switch.state();
            if state.frozen {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(context)
    }
}

//! A value that is looked up at most once per interval, by one caller at a time; everybody else gets the same answer.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

pub(crate) struct Recent<T> {
    fresh: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Recent<T> {
    pub(crate) fn new(fresh: Duration) -> Self {
        Self { fresh, last: Mutex::new(None) }
    }

    /// The last value where it is fresh, otherwise what `look` finds. `look` must be bounded in time.
    pub(crate) async fn get(&self, look: impl Future<Output = T>) -> T {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, value)) if at.elapsed() < self.fresh => value.clone(),
            _ => {
                let value = look.await;
                *last = Some((Instant::now(), value.clone()));
                value
            }
        }
    }
}

//! How long scripts take in the simulated Redis: the commands of a walk, replayed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sim::redis::SimRedis;

/// A command, and when it was given.
pub(crate) type Recorded = (u64, Vec<Vec<u8>>);

const SHOWN: usize = 10;

/// Prints the mean of the scripts run most often, and that of all. A note, not a bound: it is as good as the machine is quiet.
pub(crate) fn print(recorded: &[Recorded], run_id: &str) {
    let names: BTreeMap<&str, &str> = shared::store::scripts().into_iter().collect();
    let mut times: BTreeMap<&str, (u32, Duration)> = BTreeMap::new();
    let mut redis = SimRedis::new(run_id);
    for (now, words) in recorded {
        let begun = Instant::now();
        let _ = redis.exec(*now, words);
        let took = begun.elapsed();
        let name = words.get(1).and_then(|sha| names.get(std::str::from_utf8(sha).ok()?));
        if let Some(name) = name.filter(|_| words[0] == b"EVALSHA") {
            let (calls, total) = times.entry(name).or_default();
            *calls += 1;
            *total += took;
        }
    }
    let mut rows: Vec<_> = times.iter().collect();
    rows.sort_by_key(|(_, (calls, _))| std::cmp::Reverse(*calls));
    for (name, (calls, total)) in rows.iter().take(SHOWN) {
        eprintln!("{name:>16} {calls:>6} calls {:>7.1} µs each", (*total / *calls).as_secs_f64() * 1e6);
    }
    let (calls, total) =
        times.values().fold((0, Duration::ZERO), |(calls, total), (n, took)| (calls + n, total + *took));
    let mean = total / calls.max(1);
    eprintln!("{:>16} {calls:>6} calls {:>7.1} µs each", "all", mean.as_secs_f64() * 1e6);
}

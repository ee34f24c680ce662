//! Sets. Their members come sorted, but for those that [`SimRedis::prefer`] puts first.

use super::SimRedis;
use super::keyspace::Bytes;
use super::reply::{Outcome, Reply, integer};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Set {
    /// Sorted.
    pub(super) members: Vec<Bytes>,
}

impl Set {
    fn place(&self, member: &[u8]) -> Result<usize, usize> {
        self.members.binary_search_by(|known| (**known).cmp(member))
    }

    pub(super) fn holds(&self, member: &[u8]) -> bool {
        self.place(member).is_ok()
    }

    fn add(&mut self, member: &[u8]) -> bool {
        self.place(member).is_err_and(|at| {
            self.members.insert(at, member.into());
            true
        })
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        self.place(member).is_ok_and(|at| {
            self.members.remove(at);
            true
        })
    }

    fn in_order(&self, preferred: &[Bytes], most: usize) -> Reply {
        let first = preferred.iter().filter(|member| self.holds(member));
        let others = self.members.iter().filter(|member| !preferred.contains(member));
        Reply::Array(first.chain(others).take(most).map(|member| Reply::Bulk(member.clone())).collect())
    }
}

pub(super) fn sadd(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (key, members) = (args[0], &args[1..]);
    if redis.keyspace.read::<Set>(key)?.is_some_and(|set| members.iter().all(|member| set.holds(member))) {
        return Ok(Reply::Int(0));
    }
    redis
        .keyspace
        .change(key, |set: &mut Set| Reply::count(members.iter().filter(|member| set.add(member)).count()))
}

pub(super) fn srem(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (key, members) = (args[0], &args[1..]);
    if !redis.keyspace.read::<Set>(key)?.is_some_and(|set| members.iter().any(|member| set.holds(member))) {
        return Ok(Reply::Int(0));
    }
    redis
        .keyspace
        .change(key, |set: &mut Set| Reply::count(members.iter().filter(|member| set.remove(member)).count()))
}

pub(super) fn sismember(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::from(redis.keyspace.read::<Set>(args[0])?.is_some_and(|set| set.holds(args[1]))))
}

pub(super) fn scard(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(redis.keyspace.read::<Set>(args[0])?.map_or(0, |set| set.members.len())))
}

pub(super) fn smembers(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    some(redis, args[0], usize::MAX)
}

/// The first so many. Without a count, or with repetitions (a count below zero), it is not simulated.
pub(super) fn srandmember(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let count = integer(args[1])?;
    let most = usize::try_from(count).map_err(|_| super::reply::Failure::not_simulated(args[1]))?;
    some(redis, args[0], most)
}

fn some(redis: &SimRedis, key: &[u8], most: usize) -> Outcome {
    let set = redis.keyspace.read::<Set>(key)?;
    Ok(set.map_or_else(|| Reply::Array(Vec::new()), |set| set.in_order(&redis.preferred, most)))
}

//! Sorted sets: ordered by score, then by member.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::SimRedis;
use super::keyspace::Bytes;
use super::list::range;
use super::reply::{Failure, Outcome, Reply, float, integer, is};

/// Never NaN, and never the zero below zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score(f64);

impl Score {
    fn new(number: f64) -> Self {
        Self(number + 0.0)
    }

    fn read(text: &[u8]) -> Result<Self, Failure> {
        float(text).map(Self::new).ok_or_else(|| Failure::new("ERR value is not a valid float"))
    }

    /// As `%.17g` prints it, as far as scores are whole numbers; fractions come in their shortest form, as from Redis 7.2 on.
    fn reply(self) -> Reply {
        match self.0 {
            f64::INFINITY => Reply::text("inf"),
            f64::NEG_INFINITY => Reply::text("-inf"),
            number => Reply::text(&number.to_string()),
        }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl Hash for Score {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct SortedSet {
    ranked: Vec<(Score, Bytes)>,
    /// The same, sorted by member.
    scores: Vec<(Bytes, Score)>,
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &Self) -> bool {
        self.ranked == other.ranked
    }
}

impl Eq for SortedSet {}

impl Hash for SortedSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ranked.hash(state);
    }
}

impl SortedSet {
    pub(super) fn len(&self) -> usize {
        self.ranked.len()
    }

    fn place(&self, member: &[u8]) -> Result<usize, usize> {
        self.scores.binary_search_by(|(known, _)| (**known).cmp(member))
    }

    fn score(&self, member: &[u8]) -> Option<Score> {
        self.place(member).ok().map(|at| self.scores[at].1)
    }

    fn rank(&self, score: Score, member: &[u8]) -> Result<usize, usize> {
        self.ranked.binary_search_by(|(other, known)| other.cmp(&score).then_with(|| (**known).cmp(member)))
    }

    /// Whether the member is new.
    fn set(&mut self, score: Score, member: &[u8]) -> bool {
        let is_new = !self.remove(member);
        let bytes = Bytes::from(member);
        if let (Err(rank), Err(place)) = (self.rank(score, member), self.place(member)) {
            self.ranked.insert(rank, (score, bytes.clone()));
            self.scores.insert(place, (bytes, score));
        }
        is_new
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let Ok(place) = self.place(member) else { return false };
        let (_, score) = self.scores.remove(place);
        if let Ok(rank) = self.rank(score, member) {
            self.ranked.remove(rank);
        }
        true
    }

    /// The ranks between two bounds.
    fn between(&self, least: Bound, most: Bound) -> Range<usize> {
        let start = self.ranked.partition_point(|(score, _)| {
            *score < least.score || (least.is_exclusive && *score == least.score)
        });
        let end = self.ranked.partition_point(|(score, _)| {
            *score < most.score || (!most.is_exclusive && *score == most.score)
        });
        start..end.max(start)
    }
}

#[derive(Clone, Copy)]
struct Bound {
    score: Score,
    is_exclusive: bool,
}

impl Bound {
    fn read(text: &[u8]) -> Result<Self, Failure> {
        let (number, is_exclusive) = text.strip_prefix(b"(").map_or((text, false), |rest| (rest, true));
        // C reads nothing as zero.
        let number = if number.is_empty() { Some(0.0) } else { float(number) };
        let number = number.ok_or_else(|| Failure::new("ERR min or max is not a float"))?;
        Ok(Self { score: Score::new(number), is_exclusive })
    }
}

pub(super) fn zadd(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    if ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|option| is(args[1], option)) {
        return Err(Failure::not_simulated(args[1]));
    }
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::syntax());
    }
    let scored: Result<Vec<_>, _> = pairs.iter().map(|[score, _]| Score::read(score)).collect();
    let scored = scored?;
    redis.keyspace.change(args[0], |set: &mut SortedSet| {
        let added = scored.iter().zip(pairs).filter(|(score, [_, member])| set.set(**score, member));
        Reply::count(added.count())
    })
}

pub(super) fn zrem(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (key, members) = (args[0], &args[1..]);
    let set = redis.keyspace.read::<SortedSet>(key)?;
    if !set.is_some_and(|set| members.iter().any(|member| set.place(member).is_ok())) {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(key, |set: &mut SortedSet| {
        Reply::count(members.iter().filter(|member| set.remove(member)).count())
    })
}

pub(super) fn zcard(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(redis.keyspace.read::<SortedSet>(args[0])?.map_or(0, SortedSet::len)))
}

pub(super) fn zscore(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let set = redis.keyspace.read::<SortedSet>(args[0])?;
    Ok(set.and_then(|set| set.score(args[1])).map_or(Reply::Nil, Score::reply))
}

pub(super) fn zcount(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (least, most) = (Bound::read(args[1])?, Bound::read(args[2])?);
    let set = redis.keyspace.read::<SortedSet>(args[0])?;
    Ok(Reply::count(set.map_or(0, |set| set.between(least, most).len())))
}

pub(super) fn zremrangebyscore(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (least, most) = (Bound::read(args[1])?, Bound::read(args[2])?);
    let gone: Vec<Bytes> = match redis.keyspace.read::<SortedSet>(args[0])? {
        Some(set) => set.ranked[set.between(least, most)].iter().map(|(_, member)| member.clone()).collect(),
        None => Vec::new(),
    };
    if !gone.is_empty() {
        redis.keyspace.change(args[0], |set: &mut SortedSet| {
            for member in &gone {
                set.remove(member);
            }
        })?;
    }
    Ok(Reply::count(gone.len()))
}

fn rows<'a>(ranked: impl Iterator<Item = &'a (Score, Bytes)>, with_scores: bool) -> Reply {
    let mut out = Vec::new();
    for (score, member) in ranked {
        out.push(Reply::Bulk(member.clone()));
        if with_scores {
            out.push(score.reply());
        }
    }
    Reply::Array(out)
}

pub(super) fn zrange(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    by_rank(redis, args, false)
}

pub(super) fn zrevrange(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    by_rank(redis, args, true)
}

fn by_rank(redis: &SimRedis, args: &[&[u8]], reversed: bool) -> Outcome {
    let with_scores = match args[3..] {
        [] => false,
        [option] if is(option, "WITHSCORES") => true,
        [option, ..] => return Err(Failure::not_simulated(option)),
    };
    let (start, stop) = (integer(args[1])?, integer(args[2])?);
    let Some(set) = redis.keyspace.read::<SortedSet>(args[0])? else { return Ok(Reply::Array(Vec::new())) };
    let wanted = range(start, stop, set.len());
    Ok(if reversed {
        rows(set.ranked.iter().rev().skip(wanted.start).take(wanted.len()), with_scores)
    } else {
        rows(set.ranked[wanted].iter(), with_scores)
    })
}

pub(super) fn zrangebyscore(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (mut with_scores, mut skip, mut take) = (false, 0, -1);
    let mut options = &args[3..];
    loop {
        options = match options {
            [] => break,
            [option, rest @ ..] if is(option, "WITHSCORES") => {
                with_scores = true;
                rest
            }
            [option, offset, count, rest @ ..] if is(option, "LIMIT") => {
                (skip, take) = (integer(offset)?, integer(count)?);
                rest
            }
            _ => return Err(Failure::syntax()),
        }
    }
    let (least, most) = (Bound::read(args[1])?, Bound::read(args[2])?);
    let Some(set) = redis.keyspace.read::<SortedSet>(args[0])? else { return Ok(Reply::Array(Vec::new())) };
    // Below zero means none to skip beyond everything, and all to take.
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let take = usize::try_from(take).unwrap_or(usize::MAX);
    Ok(rows(set.ranked[set.between(least, most)].iter().skip(skip).take(take), with_scores))
}

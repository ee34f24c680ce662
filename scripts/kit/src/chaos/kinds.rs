//! Every kind of fault there is, in one table.

use std::str::FromStr;

/// What a fault befalls. Two faults of one schedule never befall the same, so that each is what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seat {
    Api,
    /// One relayer, whoever it is.
    Relayer,
    Leader,
    /// The connections to Redis.
    Link,
    /// The Redis server and its data.
    Redis,
    /// What the endpoints answer.
    Rpc,
    /// The chain itself.
    Chain,
    /// A step between two durable effects.
    Point,
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $seat:ident, $about:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $about] $variant,)* }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it does, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            pub const fn seat(self) -> Seat {
                match self { $(Self::$variant => Seat::$seat,)* }
            }
        }
    };
}

kinds! {
    KillApi = "kill-api", Api, "SIGKILL to the API";
    StopApi = "stop-api", Api, "SIGSTOP to the API, later SIGCONT";
    KillLeader = "kill-leader", Leader, "SIGKILL to the relayer that holds the lease";
    StopLeader = "stop-leader", Leader, "SIGSTOP to the leader for less than its lease";
    StopLeaderLong = "stop-leader-long", Leader, "SIGSTOP to the leader for longer than its lease";
    KillRelayer = "kill-relayer", Relayer, "SIGKILL to any relayer";
    StopRelayer = "stop-relayer", Relayer, "SIGSTOP to any relayer, also for longer than a claim may rest";
    KillFleet = "kill-fleet", Leader, "SIGKILL to every relayer at once";
    LinkDelay = "link-delay", Link, "everything to and from Redis comes late";
    LinkCut = "link-cut", Link, "connections to Redis are closed, new ones too";
    LinkStall = "link-stall", Link, "connections to Redis are half-open; what was sent arrives when that is over";
    LinkSwallow = "link-swallow", Link, "Redis gets every request, and its replies never arrive";
    RedisRestart = "redis-restart", Redis, "SIGKILL to Redis, started again with its data";
    RedisHang = "redis-hang", Redis, "SIGSTOP to Redis, later SIGCONT";
    RedisPause = "redis-pause", Redis, "CLIENT PAUSE";
    RedisFull = "redis-full", Redis, "no memory is left for writes";
    RedisTail = "redis-tail", Redis, "power loss: the last bytes of the append-only file are gone, acknowledged ones too";
    RedisOld = "redis-old", Redis, "an old append-only file is restored";
    RedisPromote = "redis-promote", Redis, "a replica without the last writes is promoted";
    RpcDown = "rpc-down", Rpc, "an endpoint refuses connections";
    RpcHang = "rpc-hang", Rpc, "an endpoint never answers";
    RpcAllDown = "rpc-all-down", Rpc, "no endpoint takes connections";
    RpcAllHang = "rpc-all-hang", Rpc, "no endpoint answers";
    RpcSlow = "rpc-slow", Rpc, "every answer of an endpoint comes late";
    RpcLimited = "rpc-429", Rpc, "every endpoint answers 429";
    RpcGarbage = "rpc-garbage", Rpc, "an endpoint answers with nonsense";
    RpcSwallowSend = "rpc-swallow-send", Rpc, "every endpoint passes transactions on and never says so";
    RpcDropSend = "rpc-drop-send", Rpc, "an endpoint accepts transactions and drops them";
    RpcStaleNonce = "rpc-stale-nonce", Rpc, "an endpoint counts the account's nonces too low";
    RpcHighNonce = "rpc-high-nonce", Rpc, "an endpoint counts the account's nonces too high";
    RpcStaleState = "rpc-stale-state", Rpc, "an endpoint answers with the state of older blocks";
    RpcLag = "rpc-lag", Rpc, "an endpoint does not know the newest blocks";
    RpcWrongChain = "rpc-wrong-chain", Rpc, "an endpoint is on another chain";
    RpcNoLogs = "rpc-no-logs", Rpc, "an endpoint has no events";
    RpcFork = "rpc-fork", Rpc, "an endpoint is on a fork: its blocks have other hashes";
    RpcTip = "rpc-tip", Rpc, "an endpoint suggests an absurd priority fee";
    ReorgShallow = "reorg-shallow", Chain, "a reorganisation that is not deeper than the confirmations";
    ReorgDeep = "reorg-deep", Chain, "a reorganisation deeper than the confirmations; an operator resumes";
    DropTransaction = "drop-transaction", Chain, "the node forgets transactions of the relayer";
    BaseFeeJump = "base-fee-jump", Chain, "the base fee is far above what open transactions bid";
    BaseFeeCap = "base-fee-cap", Chain, "the base fee is above what may be bid at all";
    NoBlocks = "no-blocks", Chain, "no blocks are made";
    NodeHang = "node-hang", Chain, "SIGSTOP to the node, later SIGCONT";
    PointKill = "point-kill", Point, "SIGKILL to a relayer at a step between two durable effects";
    PointPause = "point-pause", Point, "SIGSTOP to a relayer at such a step, for longer than the lease";
    PointError = "point-error", Point, "the reply of such a step is lost to the relayer";
}

impl Kind {
    /// Whether Redis loses what it had acknowledged. Whoever sent it has to send it again, as payment processors do.
    pub const fn forgets(self) -> bool {
        matches!(self, Self::RedisTail | Self::RedisOld | Self::RedisPromote)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("no fault is called `{text}`; --list names them all"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_own_name() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        assert!("rpc".parse::<Kind>().is_err());
    }
}

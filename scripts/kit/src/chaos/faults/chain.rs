//! What befalls the chain.

use std::time::Duration;

use alloy::primitives::B256;
use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::json;

use super::Injector;
use crate::chaos::kinds::Kind;
use crate::chaos::plan::Planned;
use crate::world::Mining;
use crate::world::contracts::RELAYER;
use crate::world::process::until;

const GWEI: u128 = 1_000_000_000;
/// Between two blocks, in seconds.
pub(super) const BLOCK_TIME: u64 = 1;
/// How long is waited for a transaction that the node could forget.
const FOR_ONE: Duration = Duration::from_secs(3);

impl Injector<'_> {
    pub(super) async fn at_chain(&mut self, fault: &Planned) -> Result<String> {
        let confirmations = self.world.settings.confirmations;
        match fault.kind {
            Kind::ReorgShallow => self.reorganise(1 + fault.pick(1, confirmations)).await,
            Kind::ReorgDeep => self.reorganise(confirmations + 1 + fault.pick(1, 5)).await,
            Kind::DropTransaction => self.forget(fault.pick(1, 2) == 0).await,
            Kind::BaseFeeJump => self.base_fee(20 + u128::from(fault.pick(1, 200))).await,
            Kind::BaseFeeCap => self.base_fee(2_000).await,
            Kind::NoBlocks => {
                self.world.anvil.set_mining(Mining::Manual).await?;
                Ok("none".into())
            }
            _ => {
                self.world.anvil.signal(Signal::SIGSTOP)?;
                Ok("stopped".into())
            }
        }
    }

    pub(super) async fn heal_chain(&mut self) -> Result<()> {
        let anvil = &mut self.world.anvil;
        anvil.signal(Signal::SIGCONT)?;
        anvil.set_mining(Mining::Every(BLOCK_TIME)).await?;
        anvil.set_next_base_fee(GWEI).await
    }

    /// Replaces the last `depth` blocks. Where there are not so many since the work began, some are made first: what was
    /// there before, contracts and funds among it, stays.
    async fn reorganise(&mut self, depth: u64) -> Result<String> {
        let anvil = &self.world.anvil;
        let head = anvil.block_number().await?;
        anvil.mine((self.base + depth).saturating_sub(head)).await?;
        anvil.reorg(depth).await?;
        Ok(format!("{depth} blocks"))
    }

    async fn base_fee(&mut self, gwei: u128) -> Result<String> {
        self.world.anvil.set_next_base_fee(gwei * GWEI).await?;
        Ok(format!("{gwei} gwei"))
    }

    /// Takes one transaction of the relayer out of the pool, or all of them, once there is one.
    async fn forget(&mut self, all: bool) -> Result<String> {
        let anvil = &self.world.anvil;
        anvil.set_mining(Mining::Manual).await?;
        let found = until("a transaction in the pool", FOR_ONE, || async {
            let pool = anvil.rpc("txpool_content", json!([])).await?;
            let of_relayer = pool["pending"].as_object().and_then(|senders| {
                let mine = senders.iter().find(|(sender, _)| sender.parse() == Ok(RELAYER))?;
                mine.1.as_object()
            });
            let hashes: Vec<B256> = of_relayer
                .into_iter()
                .flat_map(|nonces| nonces.values())
                .filter_map(|tx| tx["hash"].as_str()?.parse().ok())
                .collect();
            Ok((!hashes.is_empty()).then_some(hashes))
        })
        .await?;
        let count = if all { found.len() } else { 1 };
        for hash in &found[..count] {
            anvil.drop_transaction(*hash).await.context("drop a transaction")?;
        }
        anvil.set_mining(Mining::Every(BLOCK_TIME)).await?;
        Ok(format!("{count} of {} in the pool", found.len()))
    }
}

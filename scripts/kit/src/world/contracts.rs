//! The deployed contracts: deployment, funding, what the owner may do, and what the chain says.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::primitives::{Address, B256, U256, address, keccak256};
use alloy::providers::{DynProvider, Provider as _};
use alloy::rpc::types::TransactionReceipt;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::anvil::Anvil;
use super::bindings::{IAccessControl, IAffiliatePayout, IAffiliateRegistry, IERC20, TestSGE, TestUSDC};
use super::paths;
use super::process::{Process, Reaper};
use super::settings::Env;

/// Anvil's account 0: deploys, owns the test tokens, holds all roles but the relayer's.
pub const DEPLOYER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const DEPLOYER_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Anvil's account 1: the relayer fleet's signer.
pub const RELAYER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub const RELAYER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// One `AffiliatePaid` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    pub payment_id: B256,
    pub referrer: Address,
    pub child: Address,
    pub usdc: U256,
    pub sge: U256,
    pub block: u64,
    pub tx: B256,
}

/// What `scripts/deploy` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    pub registry: Address,
    pub payout: Address,
    pub usdc: Address,
    pub sge: Address,
    pub chain_id: u64,
    pub block: u64,
}

/// The contracts of one chain.
pub struct Contracts {
    pub addresses: Addresses,
    provider: DynProvider,
}

impl Contracts {
    /// Runs `scripts/deploy` against `anvil`. `limits` is passed on: `USDC_CAP`, `WINDOW_SECONDS` and the like.
    pub(super) async fn deploy(
        world: &Path,
        reaper: &Arc<Reaper>,
        anvil: &Anvil,
        limits: &Env,
    ) -> Result<Self> {
        // In a group of its own, so that the compiler and forge, too, die with the harness.
        let mut command = Command::new("bash");
        let (script, printed) = (paths::root().join("scripts/deploy"), world.join("deployed.json"));
        command.args(["-c", "exec \"$0\" >\"$1\""]).arg(script).arg(&printed);
        command.env("ETH_RPC_HTTPS", anvil.url()).env("DEPLOYER_PRIVATE_KEY", DEPLOYER_KEY);
        command.env("RELAYER_ADDRESS", RELAYER.to_string()).env("TMPDIR", world).envs(limits);
        let mut deploy = Process::spawn("scripts/deploy", command, world.join("deploy.log"), reaper)?;
        let status = deploy.wait(Duration::from_secs(240)).await?;
        ensure!(status.success(), "scripts/deploy: {status}\n{}", deploy.log_tail(30));
        let addresses =
            serde_json::from_slice(&std::fs::read(printed)?).context("what scripts/deploy prints")?;
        Ok(Self { addresses, provider: anvil.provider().clone() })
    }

    pub fn usdc(&self) -> TestUSDC::TestUSDCInstance<DynProvider> {
        TestUSDC::new(self.addresses.usdc, self.provider.clone())
    }

    pub fn sge(&self) -> TestSGE::TestSGEInstance<DynProvider> {
        TestSGE::new(self.addresses.sge, self.provider.clone())
    }

    pub fn payout(&self) -> IAffiliatePayout::IAffiliatePayoutInstance<DynProvider> {
        IAffiliatePayout::new(self.addresses.payout, self.provider.clone())
    }

    pub fn registry(&self) -> IAffiliateRegistry::IAffiliateRegistryInstance<DynProvider> {
        IAffiliateRegistry::new(self.addresses.registry, self.provider.clone())
    }

    /// Lets `account` register, beside the relayer.
    pub async fn let_register(&self, account: Address) -> Result<()> {
        let registry = IAccessControl::new(self.addresses.registry, self.provider.clone());
        let grant = registry.grantRole(keccak256("RELAYER_ROLE"), account);
        self.as_owner(grant).await.map(drop).context("grant RELAYER_ROLE")
    }

    /// Makes test tokens for the payout contract, in base units.
    pub async fn fund(&self, usdc: U256, sge: U256) -> Result<()> {
        let payout = self.addresses.payout;
        self.as_owner(self.usdc().mint(payout, usdc)).await.context("mint USDC")?;
        self.as_owner(self.sge().mint(payout, sge)).await.context("mint SGE")?;
        Ok(())
    }

    pub async fn set_blocklisted(&self, account: Address, blocked: bool) -> Result<()> {
        self.as_owner(self.usdc().setBlocklisted(account, blocked)).await.map(drop).context("blocklist")
    }

    /// Sends `call` from the owner's account and waits until it has succeeded.
    pub async fn as_owner<D: CallDecoder>(
        &self,
        call: CallBuilder<&DynProvider, D>,
    ) -> Result<TransactionReceipt> {
        let sent = call.from(DEPLOYER).send().await?;
        let receipt = sent.with_timeout(Some(Duration::from_secs(30))).get_receipt().await?;
        ensure!(receipt.status(), "transaction {} reverted", receipt.transaction_hash);
        Ok(receipt)
    }

    /// The balances of `account` in base units: USDC, SGE.
    pub async fn balances(&self, account: Address) -> Result<(U256, U256)> {
        let usdc = IERC20::new(self.addresses.usdc, &self.provider).balanceOf(account).call().await?;
        let sge = IERC20::new(self.addresses.sge, &self.provider).balanceOf(account).call().await?;
        Ok((usdc, sge))
    }

    /// The recorded referrer, or the zero address.
    pub async fn referrer_of(&self, child: Address) -> Result<Address> {
        Ok(self.registry().referrerOf(child).call().await?)
    }

    /// The block in which the payment was paid, or 0.
    pub async fn paid_at(&self, payment_id: B256) -> Result<u64> {
        Ok(u64::try_from(self.payout().paidAt(payment_id).call().await?)?)
    }

    /// Every `AffiliatePaid` event so far, in the order of the chain.
    pub async fn paid(&self) -> Result<Vec<Paid>> {
        let payout = self.payout();
        let events = payout.AffiliatePaid_filter().from_block(0).query().await?;
        let paid = events.into_iter().map(|(event, log)| Paid {
            payment_id: event.paymentId,
            referrer: event.referrer,
            child: event.child,
            usdc: event.usdcAmount,
            sge: event.sgeAmount,
            block: log.block_number.unwrap_or_default(),
            tx: log.transaction_hash.unwrap_or_default(),
        });
        Ok(paid.collect())
    }

    /// The gas that the transaction `tx` used.
    pub async fn gas_used(&self, tx: B256) -> Result<u64> {
        let receipt = self.provider.get_transaction_receipt(tx).await?;
        Ok(receipt.with_context(|| format!("no receipt for {tx}"))?.gas_used)
    }

    /// How many transactions the relayer's account has on the chain.
    pub async fn relayer_nonce(&self) -> Result<u64> {
        Ok(self.provider.get_transaction_count(RELAYER).await?)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{U256, address, keccak256};

    use super::super::{Mining, World};
    use super::*;

    #[tokio::test]
    async fn a_world_without_binaries_pays_by_hand_and_leaves_nothing_behind() {
        let builder =
            World::builder().relayers(0).without_api().mining(Mining::Every(1)).limit("USDC_CAP", 50);
        let world = builder.funds(1_000, 7).start().await.unwrap();
        let contracts = &world.contracts;
        let (child, referrer) = (Address::repeat_byte(1), Address::repeat_byte(2));
        assert_eq!(
            contracts.balances(contracts.addresses.payout).await.unwrap(),
            (U256::from(1_000), U256::from(7))
        );

        let id = keccak256("one");
        let send = contracts.registry().registerReferral(child, referrer).from(RELAYER).send().await.unwrap();
        assert!(send.get_receipt().await.unwrap().status());
        assert_eq!(contracts.referrer_of(child).await.unwrap(), referrer);
        let payout = contracts.payout();
        let pay =
            |amount: u64| payout.payAffiliateUSDC(id, child, referrer, U256::from(amount)).from(RELAYER);
        assert!(pay(51).call().await.is_err(), "above the cap given to the builder");
        contracts.set_blocklisted(referrer, true).await.unwrap();
        assert!(pay(50).call().await.is_err(), "blocklisted");
        contracts.set_blocklisted(referrer, false).await.unwrap();
        pay(50).send().await.unwrap().get_receipt().await.unwrap();

        let paid = contracts.paid().await.unwrap();
        assert_eq!((paid.len(), paid[0].usdc, paid[0].payment_id), (1, U256::from(50), id));
        assert_eq!(contracts.paid_at(id).await.unwrap(), paid[0].block);
        assert!(contracts.gas_used(paid[0].tx).await.unwrap() > 21_000);
        assert_eq!(contracts.relayer_nonce().await.unwrap(), 2);
        assert_eq!(RELAYER, address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"));

        let (folder, port) = (world.folder().to_owned(), world.redis.port());
        drop(world);
        assert!(!folder.exists());
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    }
}

//! [`Chain`] over JSON-RPC. Raw calls only: no filler sets a nonce, a fee or a gas limit here.
//!
//! Reads go to the best endpoint, and to the next when it gives no usable answer in good time; what decides about money is
//! asked of two; broadcasts go to all. A read that names a block is answered for that canonical block or fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, Bytes};
use alloy::transports::http::reqwest::{Client, redirect};
use async_trait::async_trait;
use serde_json::json;
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::job::{Payout, Register};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agree::{AccountNonces, Answers, NonceRange, Said};
use super::decode::Contracts;
use super::endpoint::{At, Endpoint, Terms, host_of};
use super::events::{LogFilter, is_whole};
use super::pool::Pool;
use super::questions::{Site, numbered};
use super::reader::Unconfirmed;
use super::{Chain, ChainError, ChainEvent, Conditions, Head, ReceiptView, SendOutcome, Verdict, broadcast};
use crate::metrics::RpcMetrics;

pub use super::endpoint::Url;

/// How long a slower endpoint may take to show a higher head, once one has shown the newest that is known.
const GRACE: Duration = Duration::from_millis(100);

/// How to reach the chain, and which contracts to talk to. Has no `Debug`: urls hold credentials.
#[derive(Clone)]
pub struct AlloyChainConfig {
    /// HTTP urls, in the order of preference.
    pub endpoints: Vec<Url>,
    /// An endpoint on another chain is asked nothing.
    pub chain_id: u64,
    pub registry: Address,
    pub payout: Address,
    /// Who simulated calls come from.
    pub relayer: Address,
    /// For each single question to one endpoint.
    pub deadline: Duration,
    /// Between two looks at an endpoint's chain id; also the longest pause of one that fails.
    pub check_every: Duration,
    pub metrics: RpcMetrics,
}

impl AlloyChainConfig {
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
    pub const DEFAULT_CHECK: Duration = Duration::from_secs(30);
}

/// Why no client could be built.
#[derive(Debug, Error)]
pub enum ChainSetupError {
    #[error("no HTTP endpoint is configured")]
    NoEndpoint,
    #[error("the HTTP client cannot be built")]
    Http(#[source] alloy::transports::http::reqwest::Error),
}

pub struct AlloyChain {
    pub(super) pool: Pool,
    pub(super) site: Site,
    contracts: Mutex<Option<Known>>,
    /// How long an unconfirmed contract is believed; each endpoint that comes back does so sooner.
    check_every: Duration,
    pub(super) unconfirmed: std::sync::Mutex<Unconfirmed>,
    /// How long a refusal is put off for want of a second endpoint.
    pub(super) refusal_patience: Duration,
}

/// Where the contracts and their tokens live, as endpoints told.
struct Known {
    contracts: Contracts,
    /// Only one told so: it is asked again then.
    until: Option<Instant>,
}

impl AlloyChain {
    pub fn new(config: &AlloyChainConfig) -> Result<Self, ChainSetupError> {
        if config.endpoints.is_empty() {
            return Err(ChainSetupError::NoEndpoint);
        }
        // One client for all: building one loads the root certificates. No redirects: they could leak what is sent.
        let http = Client::builder()
            .connect_timeout(config.deadline)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(ChainSetupError::Http)?;
        let terms = Terms {
            deadline: config.deadline,
            chain_id: config.chain_id,
            check_every: config.check_every,
            metrics: config.metrics.clone(),
        };
        let names = names(&config.endpoints);
        let endpoints = config.endpoints.iter().zip(&names).enumerate();
        let endpoints =
            endpoints.map(|(at, (url, name))| Arc::new(Endpoint::new(&http, url, name, at, &terms)));
        Ok(Self {
            pool: Pool::new(endpoints.collect(), config.deadline, config.metrics.clone()),
            site: Site { registry: config.registry, payout: config.payout, relayer: config.relayer },
            contracts: Mutex::default(),
            check_every: config.check_every,
            unconfirmed: std::sync::Mutex::default(),
            refusal_patience: config.check_every * 2,
        })
    }

    /// Watches the endpoints until `cancel`: chain ids, and whether those that fail answer again. Without it, one that
    /// once failed stays the last to be asked.
    pub async fn watch_endpoints(self: Arc<Self>, cancel: CancellationToken) {
        self.pool.watch(cancel).await;
    }

    /// One read, of whoever answers first.
    pub(super) async fn read<T, F>(&self, question: impl Fn(Arc<Endpoint>) -> F) -> Result<T, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        self.pool.first_answer(&self.pool.order(), question).await
    }

    /// Where the contracts live; the payout contract names its tokens, which never change: what two say is kept for good.
    pub(super) async fn contracts(&self) -> Result<Contracts, ChainError> {
        let mut known = self.contracts.lock().await;
        let now = Instant::now();
        if let Some(known) = known.as_ref().filter(|known| known.until.is_none_or(|until| now < until)) {
            return Ok(known.contracts);
        }
        let site = self.site;
        let answers =
            self.pool.verdict(move |endpoint| async move { endpoint.contracts(site).await }).await?;
        let until = answers.is_alone().then(|| now + self.check_every);
        let endpoints: Vec<&str> = answers.iter().map(|said| &*said.endpoint).collect();
        let differ = ChainError::Garbage {
            endpoint: endpoints.join(","),
            method: "eth_call",
            detail: "they name different tokens of the payout contract".to_owned(),
        };
        let contracts = answers.agreed().ok_or(differ)?;
        *known = Some(Known { contracts, until });
        Ok(contracts)
    }

    /// The receipt, from whoever has it whole: a node that has lost its logs shows a success that did nothing.
    async fn whole_receipt(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError> {
        let contracts = self.contracts().await?;
        let shows_all =
            |receipt: &Option<ReceiptView>| receipt.as_ref().is_some_and(|found| is_whole(found, &contracts));
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.receipt(&contracts, tx).await };
        let search = self.pool.search(&self.pool.voices(), ask, shows_all).await;
        let Some((_, Some(whole))) = search.found else {
            // One that says "none" is enough to go on: a missing receipt is evidence of nothing.
            return match search.error {
                Some(error) if search.others.is_empty() => Err(error),
                _ => Ok(search.others.into_iter().find_map(|(_, receipt)| receipt)),
            };
        };
        for (endpoint, partial) in search.others {
            // Of the same transaction in the same block: what one shows the other has left out.
            if partial.is_some_and(|partial| partial.block_hash == whole.block_hash) {
                endpoint.blame(&format!("its receipt of {tx} has no events, another's has them"));
            }
        }
        Ok(Some(whole))
    }
}

/// Host and port of each url, numbered where several share them: never more of it, there may be secrets.
fn names(urls: &[Url]) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let number = |url: &Url| {
        let host = host_of(url);
        let count = seen.entry(host.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count == 1 { host } else { format!("{host}#{count}") }
    };
    urls.iter().map(number).collect()
}

#[async_trait]
impl Chain for AlloyChain {
    async fn has_code(&self, address: Address) -> Result<bool, ChainError> {
        self.read(move |endpoint| async move { Ok(!endpoint.code(address).await?.is_empty()) }).await
    }

    async fn has_roles(&self, relayer: Address) -> Result<(bool, bool), ChainError> {
        let site = self.site;
        self.read(move |endpoint| async move { endpoint.roles(site, relayer).await }).await
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let best = self.pool.best_head();
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.head(best).await };
        // Those whose last answer is still awaited are not asked again meanwhile, unless the newest head is theirs.
        let mut asked = self.pool.choice();
        if asked.iter().any(|endpoint| !endpoint.is_slow() && endpoint.health().head() >= best) {
            asked.retain(|endpoint| !endpoint.is_slow());
        }
        // One that is behind answers as fast as it likes: nobody is left behind for it.
        let grace = |head: &Head| best.is_some_and(|best| head.number >= best).then_some(GRACE);
        let heads = self.pool.survey(&asked, grace, ask).await?.into_iter().map(|(_, head)| head);
        // Of equals the first: `max_by_key` would take the last.
        let highest = heads.reduce(|best, head| if head.number > best.number { head } else { best });
        highest.ok_or_else(|| self.pool.nobody())
    }

    async fn block_at(&self, number: BlockNumber) -> Result<Head, ChainError> {
        self.read(move |endpoint| async move { endpoint.header(numbered(number)).await }).await
    }

    async fn agreed_block(&self, number: BlockNumber) -> Result<Option<Head>, ChainError> {
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.header(numbered(number)).await };
        Ok(self.pool.verdict(ask).await?.agreed())
    }

    async fn priority_fees(&self) -> Result<Vec<u128>, ChainError> {
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.priority_fee().await };
        let answers = self.pool.opinions(Some(self.pool.patience()), ask).await?;
        Ok(answers.into_iter().map(|(_, fee)| fee).collect())
    }

    async fn nonce_at(&self, account: Address, at: Hash32) -> Result<Answers<Nonce>, ChainError> {
        let at = At::Hash(at);
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.nonce(account, at.param(), at).await };
        self.pool.verdict(ask).await
    }

    async fn nonce_latest(&self, account: Address) -> Result<NonceRange, ChainError> {
        let ask = |endpoint: Arc<Endpoint>| async move {
            endpoint.nonce(account, json!("latest"), At::Latest).await
        };
        let answers = self.pool.opinions(None, ask).await?;
        NonceRange::of(answers.into_iter().map(|(_, nonce)| nonce)).ok_or_else(|| self.pool.nobody())
    }

    async fn takeover_nonces(&self, account: Address) -> Result<Vec<AccountNonces>, ChainError> {
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.nonces(account).await };
        let answers = self.pool.survey(&self.pool.voices(), |_| None, ask).await?;
        Ok(answers.into_iter().map(|(_, nonces)| nonces).collect())
    }

    async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        let (from, contracts) = (self.site.relayer, self.contracts().await?);
        let ask =
            |endpoint: Arc<Endpoint>| async move { endpoint.conditions(from, &contracts, signer, at).await };
        let answers = self.pool.opinions(Some(self.pool.patience()), ask).await?.into_iter();
        answers.map(|(_, found)| found).reduce(Conditions::kinder).ok_or_else(|| self.pool.nobody())
    }

    async fn simulate_payouts(&self, items: &[Payout], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        self.judged(items, at).await
    }

    async fn simulate_registrations(
        &self,
        items: &[Register],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        self.judged(items, at).await
    }

    async fn simulate_call(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Option<Verdict>, ChainError> {
        self.revert_of(to, data, gas, at).await
    }

    async fn paid_at(
        &self,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<BlockNumber>>>, ChainError> {
        let (site, payments) = (self.site, Arc::<[PaymentId]>::from(payments));
        let ask = |endpoint: Arc<Endpoint>| {
            let payments = payments.clone();
            async move { endpoint.paid_at(site, &payments, at).await }
        };
        self.pool.verdict(ask).await
    }

    async fn referrers(
        &self,
        children: &[Wallet],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<Wallet>>>, ChainError> {
        let (site, children) = (self.site, Arc::<[Wallet]>::from(children));
        let ask = |endpoint: Arc<Endpoint>| {
            let children = children.clone();
            async move { endpoint.referrers(site, &children, at).await }
        };
        self.pool.verdict(ask).await
    }

    async fn events(&self, from: BlockNumber, to: BlockNumber) -> Result<Vec<ChainEvent>, ChainError> {
        self.events_between(from, to).await
    }

    async fn events_in(&self, block: Hash32) -> Result<Vec<Said<Vec<ChainEvent>>>, ChainError> {
        let (contracts, filter) = (self.contracts().await?, LogFilter::Block(block));
        let ask = |endpoint: Arc<Endpoint>| async move { endpoint.logs(&contracts, &filter).await };
        let answers = self.pool.survey(&self.pool.voices(), |_| None, ask).await?.into_iter();
        Ok(answers.map(|(endpoint, answer)| Said { endpoint: endpoint.name().clone(), answer }).collect())
    }

    async fn receipt(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError> {
        self.whole_receipt(tx).await
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<SendOutcome, ChainError> {
        match broadcast::to_all(&self.pool, raw).await {
            Some(answer) => answer,
            None => Err(self.pool.nobody()),
        }
    }

    fn blame(&self, endpoint: &str, why: &str) {
        for known in self.pool.all().iter().filter(|known| &**known.name() == endpoint) {
            known.blame(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_share_host_and_port_are_told_apart_without_their_paths() {
        let urls = ["https://a.example/key1", "https://b.example:8545/x", "https://a.example/key2"];
        let urls: Vec<Url> = urls.iter().map(|url| url.parse().unwrap()).collect();
        assert_eq!(names(&urls), ["a.example", "b.example:8545", "a.example#2"]);
    }
}

//! What a look at the chain before the start, or by an operator, asks: each endpoint by itself, and how the contracts point
//! to each other.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::time::Instant;

use super::alloy::AlloyChain;
use super::bindings::contracts::IAffiliatePayout as P;
use super::bindings::tokens::Token;
use super::endpoint::{At, Endpoint};
use super::{ChainError, Head};

/// How one endpoint answered.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// Host and port, never more of the url.
    pub name: Arc<str>,
    /// Its newest block. An endpoint on another chain is an error, and is asked nothing else from then on.
    pub answer: Result<Head, ChainError>,
    /// How long that question took.
    pub took: Duration,
}

/// What the payout contract says it works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wiring {
    pub registry: Address,
    pub usdc: Address,
    pub sge: Address,
}

impl AlloyChain {
    /// Asks every endpoint for its chain id and its newest block; in the order of the configuration.
    pub async fn check_endpoints(&self) -> Vec<EndpointView> {
        let ask = |endpoint: Arc<Endpoint>| async move { Ok(look(&endpoint).await) };
        let answers = self.pool.ask_all(self.pool.all(), |_| None, ask).await;
        answers.into_iter().filter_map(|(_, view)| view.ok()).collect()
    }

    pub async fn wiring(&self) -> Result<Wiring, ChainError> {
        let site = self.site;
        self.read(move |endpoint| async move {
            let (from, to) = (site.relayer, site.payout);
            Ok(Wiring {
                registry: endpoint.view(from, to, &P::registryCall {}, At::Latest).await?,
                usdc: endpoint.view(from, to, &P::usdcCall {}, At::Latest).await?,
                sge: endpoint.view(from, to, &P::sgeCall {}, At::Latest).await?,
            })
        })
        .await
    }

    /// The decimals that `token` says it has.
    pub async fn decimals(&self, token: Address) -> Result<u8, ChainError> {
        let from = self.site.relayer;
        self.read(move |endpoint| async move {
            endpoint.view(from, token, &Token::decimalsCall {}, At::Latest).await
        })
        .await
    }
}

/// What a look may take longer than one question.
const SLACK: Duration = Duration::from_millis(250);

async fn look(endpoint: &Endpoint) -> EndpointView {
    let began = Instant::now();
    let questions = async {
        endpoint.chain_id().await?;
        let began = Instant::now();
        Ok((endpoint.head(None).await?, began.elapsed()))
    };
    let deadline = endpoint.terms.deadline + SLACK;
    let answer = tokio::time::timeout(deadline, questions).await.unwrap_or_else(|_| {
        Err(ChainError::Timeout { endpoint: endpoint.name().to_string(), method: "eth_getBlockByNumber" })
    });
    let (answer, took) = match answer {
        Ok((head, took)) => (Ok(head), took),
        Err(error) => (Err(error), began.elapsed()),
    };
    EndpointView { name: endpoint.name().clone(), answer, took }
}

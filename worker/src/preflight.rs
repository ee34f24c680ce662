//! What must be true of Redis and of the chain before a relayer listens or claims anything. All problems in one list.

use shared::store::Store;

use crate::chain::{Chain, ChainError};
use crate::config::Config;

/// Everything that keeps this relayer from working; empty when nothing does.
pub async fn problems(
    config: &Config,
    store: &Store,
    chain: &dyn Chain,
    relayer: alloy::primitives::Address,
) -> Vec<String> {
    let mut found = redis(store).await;
    let (any, problems) = endpoints(config, chain).await;
    found.extend(problems);
    if any {
        match contracts(config, chain, relayer).await {
            Ok(problems) => found.extend(problems),
            Err(error) => found.push(format!("the chain cannot be checked: {error}")),
        }
    }
    found
}

async fn redis(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    match store.check_durability().await {
        Ok(problems) => found.extend(problems.into_iter().map(|problem| format!("Redis: {problem}"))),
        Err(error) => return vec![format!("Redis cannot be checked: {error}")],
    }
    match store.schema().await {
        Ok(Some(_)) => {}
        Ok(None) => found.push("Redis: no schema; run `affiliate-relayer migrate` first".to_owned()),
        Err(error) => found.push(format!("Redis: {error}")),
    }
    found
}

/// Whether some endpoint is on the right chain, and what is wrong with the others. One that does not answer is a warning
/// as long as another does.
async fn endpoints(config: &Config, chain: &dyn Chain) -> (bool, Vec<String>) {
    let mut found = Vec::new();
    let mut silent = None;
    let mut any = false;
    for (endpoint, answer) in chain.check_endpoints().await {
        match answer {
            Ok(()) => any = true,
            Err(ChainError::WrongChain { found: id, .. }) => {
                found.push(format!("CHAIN_ID={} but {endpoint} is on chain {id}", config.chain_id));
            }
            Err(error) => {
                tracing::warn!(rpc.endpoint = &*endpoint, %error, "an endpoint does not answer at start");
                silent.get_or_insert(error);
            }
        }
    }
    if !any {
        found.extend(silent.map(|error| format!("the chain cannot be checked: {error}")));
    }
    (any, found)
}

async fn contracts(
    config: &Config,
    chain: &dyn Chain,
    relayer: alloy::primitives::Address,
) -> Result<Vec<String>, ChainError> {
    let mut found = Vec::new();
    let contracts =
        [("AFFILIATE_REGISTRY_ADDRESS", config.registry), ("AFFILIATE_PAYOUT_ADDRESS", config.payout)];
    let mut all_there = true;
    for (name, address) in contracts {
        if !chain.has_code(address).await? {
            all_there = false;
            found.push(format!("{name}={address}: there is no contract at this address"));
        }
    }
    if all_there {
        match chain.has_roles(relayer).await {
            Ok((registry, payout)) => {
                for (held, contract) in [(registry, "AffiliateRegistry"), (payout, "AffiliatePayout")] {
                    if !held {
                        found.push(format!(
                            "{relayer} does not hold RELAYER_ROLE on {contract}: grant it as admin"
                        ));
                    }
                }
            }
            Err(error) => {
                found.push(format!("the contracts do not answer hasRole; are the addresses right? {error}"))
            }
        }
    }
    Ok(found)
}

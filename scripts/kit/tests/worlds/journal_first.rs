//! Nothing reaches a node before Redis holds it: a relayer that is stopped between signing and journaling has told nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use kit::world::contracts::RELAYER;
use kit::world::{Mining, Signal};

use crate::support::{LIMIT, at_stage, pay, quick, registered};

#[tokio::test]
async fn what_is_signed_but_not_journaled_is_known_to_no_node() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), "after_sign=pause".to_owned())]))?;
    world.leader(LIMIT).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "signed").await?.remove(0);
    at_stage(&client, &job, "ready").await?;

    // A leader that runs on leaves `ready` within milliseconds.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(world.anvil.pool().await?, (0, 0), "broadcast before it was journaled");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.job(&job).await?["stage"], "ready");
    let nonce = world.contracts.relayer_nonce().await?;
    let tx = world.key(&format!("tx:{RELAYER:#x}:{nonce}"));
    assert_eq!(world.redis.cli(&["EXISTS", &tx]).await?, "0");
    Ok(())
}

//! Several endpoints of one real node, some behind a proxy that fails on demand: what is asked of whom, and what is
//! believed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use kit::world::{Fault, RpcProxy};
use serde_json::json;
use shared::ids::{BlockNumber, Nonce};
use shared::tx::Fees;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::chain::alloy::{AlloyChain, AlloyChainConfig, Url};
use worker::chain::contracts::{IAffiliatePayout, IAffiliateRegistry};
use worker::chain::{Answers, Chain, ChainError, SendOutcome, Verdict};
use worker::keys::{Unsigned, sign_eip1559};
use worker::metrics::Metrics;
use worker::signer::fees::Tips;
use worker::signer::recover::{self, Found};

use crate::support::{CHAIN_ID, RELAYER, World, agreed, nonce_of, payout, relayer_key, wallet};

const DEADLINE: Duration = Duration::from_secs(1);
const CHECK: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

/// A node with contracts, and a client whose first endpoint is a proxy in front of it and whose second is the node.
struct Scene {
    world: World,
    proxy: RpcProxy,
    chain: Arc<AlloyChain>,
    metrics: Arc<Metrics>,
    watch: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Scene {
    async fn start(fault: Fault) -> Self {
        Self::on(World::start().await, fault)
    }

    fn on(world: World, fault: Fault) -> Self {
        let proxy = RpcProxy::start(world.anvil.http().as_str()).unwrap();
        proxy.set(fault);
        let metrics = Metrics::new();
        let proxied: Url = format!("{}/a-secret-path", proxy.url()).parse().unwrap();
        let chain = chain_of(&world, &metrics, vec![proxied, world.anvil.http()]);
        Self { world, proxy, chain, metrics, watch: None }
    }

    /// A fresh client of other endpoints: proxies with these faults, in this order.
    fn beside(&mut self, faults: &[Fault]) -> Vec<RpcProxy> {
        let node = self.world.anvil.http();
        let proxies: Vec<_> = faults.iter().map(|_| RpcProxy::start(node.as_str()).unwrap()).collect();
        proxies.iter().zip(faults).for_each(|(proxy, fault)| proxy.set(*fault));
        let urls = proxies.iter().map(|proxy| proxy.url().parse().unwrap()).collect();
        self.chain = chain_of(&self.world, &self.metrics, urls);
        proxies
    }

    /// The same node with a fresh client and proxy.
    fn again(self, fault: Fault) -> Self {
        Self::on(self.world, fault)
    }

    #[allow(clippy::disallowed_methods, reason = "a test awaits its own task")]
    fn watched(mut self) -> Self {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(self.chain.clone().watch_endpoints(cancel.clone()));
        self.watch = Some((cancel, task));
        self
    }

    async fn stop_watching(&mut self) {
        let (cancel, task) = self.watch.take().unwrap();
        cancel.cancel();
        tokio::time::timeout(Duration::from_secs(2), task).await.expect("in time").expect("no panic");
    }

    fn good(&self) -> String {
        format!("127.0.0.1:{}", self.world.anvil.port())
    }

    fn figure(&self, sample: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(sample));
        let line = line.unwrap_or_else(|| panic!("no `{sample}` in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn is_up(&self, endpoint: &str) -> bool {
        self.figure(&format!("ail_rpc_up{{endpoint=\"{endpoint}\"}}")) == 1
    }

    fn errors(&self, endpoint: &str, kind: &str) -> u64 {
        self.figure(&format!("ail_rpc_endpoint_errors_total{{endpoint=\"{endpoint}\",kind=\"{kind}\"}}"))
    }

    fn refuted(&self, endpoint: &str) -> u64 {
        self.figure(&format!("ail_rpc_disagreements_total{{endpoint=\"{endpoint}\"}}"))
    }

    fn lag(&self, endpoint: &str) -> u64 {
        self.figure(&format!("ail_rpc_lag_blocks{{endpoint=\"{endpoint}\"}}"))
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited for {what}:\n{}", self.metrics.encode());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn good_one_is_spotless(&self) {
        let good = self.good();
        for kind in ["timeout", "unreachable", "rate_limited", "node", "garbage", "wrong_chain"] {
            assert_eq!(self.errors(&good, kind), 0, "{kind}\n{}", self.metrics.encode());
        }
        assert!(self.is_up(&good) && self.refuted(&good) == 0 && self.lag(&good) == 0);
    }
}

fn chain_of(world: &World, metrics: &Arc<Metrics>, endpoints: Vec<Url>) -> Arc<AlloyChain> {
    let chain = AlloyChain::new(&AlloyChainConfig {
        endpoints,
        chain_id: CHAIN_ID,
        registry: world.deployed.registry,
        payout: world.deployed.payout,
        relayer: RELAYER,
        deadline: DEADLINE,
        check_every: CHECK,
        metrics: metrics.rpc(),
    });
    Arc::new(chain.unwrap())
}

/// Registers child 1 with referrer 101 and pays it once: the payment and its transaction.
async fn pay_once(world: &World) -> (shared::job::Payout, B256) {
    let (child, referrer) = (wallet(1), wallet(101));
    let call =
        IAffiliateRegistry::registerReferralCall { child: child.address(), referrer: referrer.address() };
    world.as_relayer(world.deployed.registry, call).await;
    let paid = payout("once", child, referrer, 5, 0);
    let call = IAffiliatePayout::payAffiliateUSDCCall {
        paymentId: paid.payment_id.hash(),
        child: child.address(),
        referrer: referrer.address(),
        usdcAmount: U256::from(5),
    };
    let tx = world.as_relayer(world.deployed.payout, call).await;
    (paid, tx)
}

async fn transfer(nonce: u64) -> worker::keys::SignedTransaction {
    const GWEI: u128 = 1_000_000_000;
    let unsigned = Unsigned {
        chain_id: CHAIN_ID,
        nonce: Nonce::new(nonce),
        to: RELAYER,
        value: U256::ZERO,
        data: Bytes::new(),
        gas_limit: 21_000,
        fees: Fees { max_fee: 20 * GWEI, max_priority_fee: GWEI },
    };
    sign_eip1559(&relayer_key(), unsigned).await.unwrap()
}

#[tokio::test]
async fn reads_are_right_and_the_faulty_endpoint_is_named_whatever_its_silence_is_like() {
    let mut scene = Scene::start(Fault::Pass).await;
    let (paid, tx) = pay_once(&scene.world).await;
    let truth = scene.world.head().await;
    for (fault, kind) in [
        (Fault::Down, "unreachable"),
        (Fault::Hang, "timeout"),
        (Fault::Status429, "rate_limited"),
        (Fault::Garbage, "garbage"),
        (Fault::WrongChainId, "wrong_chain"),
    ] {
        scene = scene.again(fault).watched();
        let chain = &scene.chain;
        assert_eq!(chain.head().await, Ok(truth), "{fault:?}");
        assert_eq!(chain.agreed_block(truth.number).await, Ok(Some(truth)), "{fault:?}");
        assert_eq!(agreed(chain.paid_at(&[paid.payment_id], truth.hash).await), [Some(truth.number)]);
        let receipt = chain.receipt(tx.into()).await.unwrap().expect("a receipt");
        assert_eq!((receipt.block_hash, receipt.events.len()), (truth.hash, 1), "{fault:?}");
        let bad = scene.proxy.name();
        scene.until(&format!("{fault:?} to be noticed"), |scene| !scene.is_up(&bad)).await;
        assert!(scene.errors(&bad, kind) > 0, "{fault:?}\n{}", scene.metrics.encode());
        assert!(!scene.metrics.encode().contains("a-secret-path"));
        scene.good_one_is_spotless();

        scene.proxy.set(Fault::Pass);
        scene.until(&format!("the end of {fault:?} to be noticed"), |scene| scene.is_up(&bad)).await;
        let before = scene.proxy.asked("eth_getTransactionReceipt");
        scene.chain.receipt(tx.into()).await.unwrap();
        assert!(scene.proxy.asked("eth_getTransactionReceipt") > before, "it is the first to be asked again");
        scene.stop_watching().await;
    }
}

#[tokio::test]
async fn a_silent_endpoint_costs_a_fraction_of_one_deadline_and_then_nothing() {
    let mut scene = Scene::start(Fault::Pass).await.watched();
    let bad = scene.proxy.name();
    // Both are known to be on our chain.
    assert!(scene.chain.check_endpoints().await.iter().all(|view| view.answer.is_ok()));
    scene.proxy.set(Fault::Hang);
    let started = Instant::now();
    for number in 0..10 {
        scene.chain.block_at(BlockNumber::new(number % 3)).await.unwrap();
    }
    let took = started.elapsed();
    assert!(took < DEADLINE, "ten reads took {took:?}");
    // Nobody waits for it any more, and still it is found out.
    scene.until("the timeout to be counted", |scene| scene.errors(&bad, "timeout") > 0).await;
    assert!(!scene.is_up(&bad));
    let before = scene.proxy.asked("eth_getBlockByNumber");
    for _ in 0..20 {
        scene.chain.block_at(BlockNumber::new(1)).await.unwrap();
    }
    // A probe may have come meanwhile; the reads did not.
    assert!(scene.proxy.asked("eth_getBlockByNumber") <= before + 1);
    scene.good_one_is_spotless();
    scene.stop_watching().await;
}

#[tokio::test]
async fn an_endpoint_on_another_chain_is_neither_read_nor_sent_to() {
    let mut scene = Scene::start(Fault::WrongChainId).await;
    let wrong = scene.proxy.name();
    let checks = scene.chain.check_endpoints().await;
    assert_eq!(&*checks[0].name, wrong);
    let expected = ChainError::WrongChain { endpoint: wrong.clone(), found: 1, expected: CHAIN_ID };
    assert_eq!(checks[0].answer, Err(expected));
    assert!(checks[1].answer.is_ok(), "{checks:?}");

    let nonce = nonce_of(&scene.chain, RELAYER).await.get();
    assert_eq!(scene.chain.broadcast(&transfer(nonce).await.raw).await, Ok(SendOutcome::Accepted));
    assert!(matches!(scene.chain.nonce_at(RELAYER, scene.world.at().await).await, Ok(Answers::Alone(_))));
    assert_eq!(scene.proxy.asked_in_all(), scene.proxy.asked("eth_chainId"), "asked for its chain id only");

    // One that changes chains while we run is found out by the check that comes round.
    scene.proxy.set(Fault::Pass);
    scene = scene.watched();
    scene.until("it to be right again", |scene| scene.is_up(&wrong)).await;
    scene.proxy.set(Fault::WrongChainId);
    scene.until("it to be wrong again", |scene| !scene.is_up(&wrong)).await;
    let before = scene.proxy.asked_in_all() - scene.proxy.asked("eth_chainId");
    assert_eq!(
        scene.chain.broadcast(&transfer(nonce + 1).await.raw).await,
        Ok(SendOutcome::Accepted),
        "by the other"
    );
    assert_eq!(scene.proxy.asked_in_all() - scene.proxy.asked("eth_chainId"), before);
    scene.stop_watching().await;
}

#[tokio::test]
async fn the_highest_head_counts_and_one_that_lags_is_asked_after_the_others() {
    let scene = Scene::start(Fault::Lag(5)).await;
    scene.world.anvil.mine(8).await;
    let (paid, tx) = pay_once(&scene.world).await;
    let truth = scene.world.head().await;
    let lagging = scene.proxy.name();
    assert_eq!(scene.chain.head().await, Ok(truth));
    // The lag is known from the second look on, when there is something to compare with.
    assert_eq!(scene.chain.head().await, Ok(truth));
    assert_eq!(scene.lag(&lagging), 5);
    // What it does not have yet is no fault of it.
    assert_eq!(agreed(scene.chain.paid_at(&[paid.payment_id], truth.hash).await), [Some(truth.number)]);
    assert!(scene.chain.receipt(tx.into()).await.unwrap().is_some());
    let before = scene.proxy.asked("eth_getBlockByNumber");
    scene.chain.block_at(BlockNumber::new(1)).await.unwrap();
    assert_eq!(scene.proxy.asked("eth_getBlockByNumber"), before);
    assert!(scene.is_up(&lagging));
    scene.good_one_is_spotless();
    // A block that it has, it is asked about: two are better than one.
    let old = scene.chain.block_at(BlockNumber::new(truth.number.get() - 6)).await.unwrap();
    let answers = scene.chain.nonce_at(RELAYER, old.hash).await;
    assert!(matches!(answers, Ok(Answers::Two(..))), "{answers:?}");

    scene.proxy.set(Fault::Pass);
    scene.chain.head().await.unwrap();
    assert_eq!(scene.lag(&lagging), 0);
}

#[tokio::test]
async fn answers_about_money_are_those_of_two_and_a_lie_shows() {
    let scene = Scene::start(Fault::Pass).await;
    let (paid, _) = pay_once(&scene.world).await;
    let head = scene.world.head().await;
    let nonce = agreed(scene.chain.nonce_at(RELAYER, head.hash).await);
    assert_eq!(agreed(scene.chain.paid_at(&[paid.payment_id], head.hash).await), [Some(head.number)]);

    let nonces = async || match scene.chain.nonce_at(RELAYER, head.hash).await.unwrap() {
        Answers::Two(proxied, direct) => (proxied.answer.get(), direct.answer.get()),
        other => panic!("{other:?}"),
    };
    scene.proxy.set(Fault::StaleNonce(1));
    assert_eq!(nonces().await, (nonce.get() - 1, nonce.get()));
    let range = scene.chain.nonce_latest(RELAYER).await.unwrap();
    assert_eq!((range.lowest.get(), range.highest), (nonce.get() - 1, nonce));
    scene.proxy.set(Fault::HighNonce(2));
    assert_eq!(nonces().await, (nonce.get() + 2, nonce.get()));
    let counts = scene.chain.takeover_nonces(RELAYER).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|count| (count.head, count.latest.get())).collect();
    assert_eq!(counts, [(head.number, nonce.get() + 2), (head.number, nonce.get())]);

    scene.proxy.set(Fault::StaleState(1));
    match scene.chain.paid_at(&[paid.payment_id], head.hash).await.unwrap() {
        Answers::Two(proxied, direct) => {
            assert_eq!((&*proxied.endpoint, proxied.answer), (&*scene.proxy.name(), vec![None]));
            assert_eq!((&*direct.endpoint, direct.answer), (&*scene.good(), vec![Some(head.number)]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.figure("ail_rpc_lone_verdicts_total"), 0);
    scene.proxy.set(Fault::Down);
    assert_eq!(agreed(scene.chain.paid_at(&[paid.payment_id], head.hash).await), [Some(head.number)]);
    assert_eq!(scene.figure("ail_rpc_lone_verdicts_total"), 1);
}

#[tokio::test]
async fn a_simulation_that_refuses_is_asked_of_a_second_endpoint() {
    let scene = Scene::start(Fault::Pass).await;
    let (paid, _) = pay_once(&scene.world).await;
    let head = scene.world.head().await;
    // As of two blocks ago the child is not registered.
    scene.proxy.set(Fault::StaleState(2));
    let items =
        [payout("next", wallet(1), wallet(101), 5, 0), paid, payout("no", wallet(9), wallet(101), 5, 0)];
    let found = scene.chain.simulate_payouts(&items, head.hash).await.unwrap();
    assert_eq!(found, [Verdict::Fine, Verdict::AlreadyDone, Verdict::NotRegistered]);
    assert!(scene.proxy.asked("eth_call") > 0, "the stale one was asked first");
}

#[tokio::test]
async fn lost_logs_hide_no_payment_and_whoever_lost_them_is_blamed() {
    let scene = Scene::start(Fault::NoLogs).await;
    let (paid, tx) = pay_once(&scene.world).await;
    let head = scene.world.head().await;
    let from = BlockNumber::new(scene.world.deployed.block);
    assert_eq!(scene.chain.events(from, head.number).await.unwrap().len(), 2, "all that anybody shows");
    let shown = scene.chain.events_in(head.hash).await.unwrap();
    let counts: Vec<_> = shown.iter().map(|said| (said.endpoint.to_string(), said.answer.len())).collect();
    assert_eq!(counts, [(scene.proxy.name(), 0), (scene.good(), 1)]);

    let receipt = scene.chain.receipt(tx.into()).await.unwrap().expect("a receipt");
    assert_eq!(receipt.events.len(), 1, "{receipt:?}");
    assert!(format!("{:?}", receipt.events).contains(&format!("{:?}", paid.payment_id)));
    assert_eq!(scene.refuted(&scene.proxy.name()), 1);
    assert!(!scene.is_up(&scene.proxy.name()));
    scene.good_one_is_spotless();
}

#[tokio::test]
async fn transactions_that_one_endpoint_loses_arrive_by_the_other() {
    let mut scene = Scene::start(Fault::DropSend).await;
    // What is mined at once would be too low a nonce for whoever is handed it a moment later.
    scene.world.anvil.rpc("evm_setAutomine", json!([false])).await;
    let nonce = nonce_of(&scene.chain, RELAYER).await.get();
    let signed = transfer(nonce).await;
    assert_eq!(scene.chain.broadcast(&signed.raw).await, Ok(SendOutcome::Accepted));
    assert_eq!(scene.proxy.asked("eth_sendRawTransaction"), 1);
    scene.world.anvil.mine(1).await;
    scene.world.anvil.receipt(&json!(signed.hash)).await;

    scene = scene.again(Fault::SwallowSend).watched();
    let bad = scene.proxy.name();
    let started = Instant::now();
    for next in 1..=3 {
        let sent = scene.chain.broadcast(&transfer(nonce + next).await.raw).await;
        assert!(matches!(sent, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown)), "{sent:?}");
    }
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    scene.until("the silence to be counted", |scene| scene.errors(&bad, "timeout") > 0).await;
    scene.good_one_is_spotless();
    scene.stop_watching().await;
}

#[tokio::test]
async fn an_answer_that_does_not_decode_is_replaced_by_another_endpoints() {
    let scene = Scene::start(Fault::NoCode).await;
    assert_eq!(scene.chain.has_roles(RELAYER).await, Ok((true, true)));
    assert!(scene.errors(&scene.proxy.name(), "garbage") > 0, "{}", scene.metrics.encode());
    scene.good_one_is_spotless();
    // A call of a contract that is not there returns nothing, which is no answer to any view.
    let nowhere: Address = wallet(5).address();
    scene.proxy.set(Fault::Pass);
    let lost = AlloyChain::new(&AlloyChainConfig {
        endpoints: vec![scene.proxy.url().parse().unwrap(), scene.world.anvil.http()],
        chain_id: CHAIN_ID,
        registry: nowhere,
        payout: nowhere,
        relayer: RELAYER,
        deadline: DEADLINE,
        check_every: CHECK,
        metrics: scene.metrics.rpc(),
    })
    .unwrap();
    let error = lost.has_roles(RELAYER).await.unwrap_err();
    assert!(matches!(error, ChainError::Garbage { .. }), "{error:?}");
    assert_eq!(scene.errors(&scene.good(), "garbage"), 1);
    let call = IAffiliatePayout::paidAtCall { paymentId: B256::ZERO }.abi_encode();
    let reverts = lost.simulate_call(nowhere, call.into(), 100_000, scene.world.at().await).await;
    assert!(matches!(reverts, Err(ChainError::Garbage { .. })), "{reverts:?}");
}

#[tokio::test]
async fn of_two_suggested_tips_the_lower_is_paid_at_first_and_the_higher_by_a_replacement() {
    const GWEI: u128 = 1_000_000_000;
    let mut scene = Scene::start(Fault::Pass).await;
    let asked = async |scene: &mut Scene, faults: &[Fault]| {
        let _proxies = scene.beside(faults);
        let tips = Tips::of(&scene.chain.priority_fees().await.unwrap(), 50 * GWEI).unwrap();
        (tips.first(), tips.again(GWEI, 50 * GWEI))
    };
    let (high, two) = (Fault::Tip(9_000_000_000_000), Fault::Tip(2_000_000_000));
    assert_eq!(asked(&mut scene, &[high, two]).await, (2 * GWEI, 50 * GWEI));
    assert_eq!(asked(&mut scene, &[Fault::Tip(0), two]).await, (1_000_000, 2 * GWEI));
    assert_eq!(asked(&mut scene, &[high, Fault::Down]).await, (50 * GWEI, 50 * GWEI));
}

#[tokio::test]
async fn an_emptied_redis_beside_an_endpoint_that_is_behind_begins_at_the_real_nonce() {
    let scene = Scene::start(Fault::Lag(5)).await;
    pay_once(&scene.world).await;
    scene.world.anvil.mine(3).await;
    let head = scene.chain.head().await.unwrap();
    let deep = scene.chain.agreed_block(head.number.below(2).unwrap()).await.unwrap().expect("a block");
    let found = Found {
        next: None,
        open: Default::default(),
        counts: scene.chain.takeover_nonces(RELAYER).await.unwrap(),
        deep: deep.number,
        pinned: Some(scene.chain.nonce_at(RELAYER, deep.hash).await.unwrap()),
        closed_below: Nonce::new(0),
    };
    assert_eq!(found.counts[0].latest, Nonce::new(0), "{found:?}");
    let real = nonce_of(&scene.world.chain, RELAYER).await;
    assert_eq!(recover::plan(&found, 16).unwrap().set_next, Some(real), "{found:?}");
}

#[tokio::test]
async fn a_fast_endpoint_that_is_behind_does_not_hold_back_a_slower_one() {
    let mut scene = Scene::start(Fault::Pass).await;
    pay_once(&scene.world).await;
    scene.world.anvil.mine(6).await;
    let proxies = scene.beside(&[Fault::Lag(5), Fault::Slow(200)]);
    for _ in 0..5 {
        assert_eq!(scene.chain.head().await, Ok(scene.world.head().await));
        scene.world.anvil.mine(1).await;
    }
    // What a fast one says about nonces is not all there is.
    proxies[0].set(Fault::HighNonce(4));
    let real = nonce_of(&scene.world.chain, RELAYER).await;
    let range = scene.chain.nonce_latest(RELAYER).await.unwrap();
    assert_eq!((range.lowest, range.highest.get()), (real, real.get() + 4));
}

#[tokio::test]
async fn conditions_of_one_stale_endpoint_close_no_gate() {
    let scene = Scene::start(Fault::StaleState(1)).await;
    scene.world.as_admin(scene.world.deployed.payout, IAffiliatePayout::pauseCall {}).await;
    scene.world.anvil.rpc("anvil_setBalance", json!([RELAYER, "0x1"])).await;
    scene.world.anvil.mine(1).await;
    scene.world.anvil.rpc("anvil_setBalance", json!([RELAYER, "0xde0b6b3a7640000"])).await;
    scene.world.as_admin(scene.world.deployed.payout, IAffiliatePayout::unpauseCall {}).await;
    let at = scene.world.at().await;
    let real = scene.world.chain.conditions(RELAYER, at).await.unwrap();
    assert!(!real.payout_paused && real.signer_balance > 1);
    assert_eq!(scene.chain.conditions(RELAYER, at).await, Ok(real));
    assert!(scene.proxy.asked("eth_getBalance") > 0, "the stale one was asked too");
}

#[tokio::test]
async fn of_three_endpoints_two_that_agree_outvote_one_and_it_is_named() {
    let mut scene = Scene::start(Fault::Pass).await;
    let (paid, _) = pay_once(&scene.world).await;
    let head = scene.world.head().await;
    let proxies = scene.beside(&[Fault::Fork, Fault::Pass, Fault::Pass]);
    assert_eq!(scene.chain.agreed_block(head.number).await, Ok(Some(head)));
    assert_eq!(scene.refuted(&proxies[0].name()), 1);
    let nonce = nonce_of(&scene.world.chain, RELAYER).await;
    proxies[1].set(Fault::HighNonce(1));
    assert_eq!(agreed(scene.chain.nonce_at(RELAYER, head.hash).await), nonce);
    assert_eq!(scene.refuted(&proxies[1].name()), 1);
    proxies[2].set(Fault::StaleState(1));
    assert_eq!(agreed(scene.chain.paid_at(&[paid.payment_id], head.hash).await), [Some(head.number)]);
    assert_eq!(scene.refuted(&proxies[2].name()), 1);
    assert_eq!(scene.figure("ail_rpc_lone_verdicts_total"), 0);
}

#[tokio::test]
async fn an_endpoint_in_disgrace_still_confirms_what_another_says_about_money() {
    let scene = Scene::start(Fault::Pass).await;
    let at = scene.world.at().await;
    scene.chain.blame(&scene.good(), "as the test wants");
    assert!(!scene.is_up(&scene.good()));
    assert!(matches!(scene.chain.nonce_at(RELAYER, at).await, Ok(Answers::Two(..))));
    // One that does not answer at all costs its deadline once, and the other stands alone.
    let scene = scene.again(Fault::Hang);
    let started = Instant::now();
    for _ in 0..5 {
        assert!(scene.chain.nonce_at(RELAYER, at).await.unwrap().is_alone());
    }
    assert!(started.elapsed() < 2 * DEADLINE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_refusal_that_nobody_confirms_is_put_off_and_not_for_ever() {
    let scene = Scene::start(Fault::Pass).await;
    let (paid, _) = pay_once(&scene.world).await;
    let nothing = [payout("nothing", paid.child, paid.referrer, 0, 0)];
    let at = scene.world.at().await;
    let fails = |found: &[Verdict]| matches!(found, [Verdict::Fails(_)]);
    assert!(fails(&scene.chain.simulate_payouts(&nothing, at).await.unwrap()), "both say so");

    scene.proxy.set(Fault::Down);
    assert_eq!(scene.chain.simulate_payouts(&nothing, at).await, Ok(vec![Verdict::OutOfTime]));
    let deadline = Instant::now() + LIMIT;
    while !fails(&scene.chain.simulate_payouts(&nothing, at).await.unwrap()) {
        assert!(Instant::now() < deadline, "it is put off for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(scene.figure("ail_rpc_lone_verdicts_total") > 0);
}

#[tokio::test]
async fn events_of_a_range_are_those_of_two_however_narrow_their_ranges_and_however_far_they_are() {
    let mut scene = Scene::start(Fault::Pass).await;
    pay_once(&scene.world).await;
    let (from, head) = (BlockNumber::new(scene.world.deployed.block), scene.world.head().await);
    scene.world.anvil.mine(20).await;
    let to = scene.world.head().await.number;
    let proxies = scene.beside(&[Fault::NarrowLogs(3), Fault::NoLogs]);
    assert_eq!(scene.chain.events(from, to).await.unwrap().len(), 2, "one narrow, one without logs");
    assert_eq!(scene.figure("ail_rpc_lone_verdicts_total"), 0);
    // One that has not come as far shows what it has, and the other counts alone; without it, nothing counts.
    proxies[0].set(Fault::Lag(to.get() - head.number.get()));
    assert_eq!(scene.chain.events(from, to).await.unwrap().len(), 2);
    assert_eq!(scene.figure("ail_rpc_lone_verdicts_total"), 1);
    proxies[1].set(Fault::Down);
    let lagging = scene.chain.events(from, to).await;
    assert!(matches!(lagging, Err(ChainError::UnknownBlock { .. })), "{lagging:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_known_to_hang_holds_up_no_refused_broadcast() {
    let mut scene = Scene::start(Fault::Pass).await.watched();
    let bad = scene.proxy.name();
    assert!(scene.chain.check_endpoints().await.iter().all(|view| view.answer.is_ok()));
    scene.proxy.set(Fault::Hang);
    scene.chain.block_at(BlockNumber::new(1)).await.unwrap();
    scene.until("the silence to be noticed", |scene| !scene.is_up(&bad)).await;
    pay_once(&scene.world).await;
    let started = Instant::now();
    assert_eq!(scene.chain.broadcast(&transfer(0).await.raw).await, Ok(SendOutcome::NonceTooLow));
    assert!(started.elapsed() < DEADLINE / 2, "{:?}", started.elapsed());
    scene.stop_watching().await;
}

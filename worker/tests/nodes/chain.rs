//! The chain client against a real node and the real contracts: reads, simulation, events, receipts.

use alloy::primitives::{B256, U256, keccak256};
use alloy::sol_types::SolCall;
use shared::ids::{BlockNumber, Hash32, Nonce, Wallet};
use shared::job::{FailureClass, Payout, Register};
use worker::chain::contracts::{IAffiliatePayout, IAffiliateRegistry, Payout as Item, Referral};
use worker::chain::{Chain, ChainError, ChainEventKind, Gate, Verdict};

use crate::support::{ADMIN, RELAYER, TestToken, World, agreed, client, nonce_of, payout, wallet};

const USDC: u128 = 1_000_000;
const SGE: u128 = 1_000_000_000_000_000_000;

fn gate_of(verdict: &Verdict) -> Option<Gate> {
    match verdict {
        Verdict::Gate { gate, .. } => Some(*gate),
        _ => None,
    }
}

fn class_of(verdict: &Verdict) -> Option<FailureClass> {
    match verdict {
        Verdict::Fails(failure) => Some(failure.class),
        _ => None,
    }
}

fn item(payout: &Payout) -> Item {
    Item {
        paymentId: payout.payment_id.hash(),
        child: payout.child.address(),
        referrer: payout.referrer.address(),
        usdcAmount: payout.commission.usdc.u256(),
        sgeAmount: payout.commission.sge.u256(),
    }
}

/// A world in which wallets 1 to `count` were brought by wallets 101 and following.
async fn with_referrals(count: u16) -> World {
    let world = World::start().await;
    let referrals = (1..=count)
        .map(|n| Referral { child: wallet(n).address(), referrer: wallet(100 + n).address() })
        .collect();
    world
        .as_relayer(world.deployed.registry, IAffiliateRegistry::registerReferralBatchCall { referrals })
        .await;
    world
}

async fn verdicts(world: &World, items: &[Payout]) -> Vec<Verdict> {
    world.chain.simulate_payouts(items, world.at().await).await.unwrap()
}

async fn verdict(world: &World, item: Payout) -> Verdict {
    verdicts(world, &[item]).await.remove(0)
}

fn pay(n: u16, usdc: u128, sge: u128) -> Payout {
    payout(&format!("pay_{n}_{usdc}_{sge}"), wallet(n), wallet(100 + n), usdc, sge)
}

async fn pay_now(world: &World, items: &[Payout]) -> B256 {
    let payouts = items.iter().map(item).collect();
    world.as_relayer(world.deployed.payout, IAffiliatePayout::payAffiliateBatchCall { payouts }).await
}

#[tokio::test]
async fn each_item_of_a_batch_gets_its_own_verdict() {
    let world = with_referrals(8).await;
    let paid = pay(1, 5 * USDC, 0);
    pay_now(&world, std::slice::from_ref(&paid)).await;
    let blocked = wallet(105).address();
    world
        .as_admin(world.deployed.usdc, TestToken::setBlocklistedCall { account: blocked, blocked: true })
        .await;

    let found = verdicts(
        &world,
        &[
            pay(2, USDC, 0),
            paid,
            payout("new", wallet(50), wallet(150), USDC, 0),
            payout("wrong", wallet(3), wallet(104), USDC, 0),
            pay(4, 1_001 * USDC, 0),
            pay(5, USDC, 0),
            payout("nothing", wallet(6), wallet(106), 0, 0),
            pay(7, USDC, 10_001 * SGE),
            pay(8, USDC, SGE),
        ],
    )
    .await;
    assert_eq!(found[0], Verdict::Fine);
    assert_eq!(found[1], Verdict::AlreadyDone);
    assert_eq!(found[2], Verdict::NotRegistered);
    assert_eq!(class_of(&found[3]), Some(FailureClass::InvalidReferrer));
    assert!(
        format!("{:?}", found[3]).contains(&wallet(103).to_string()),
        "names who is recorded: {:?}",
        found[3]
    );
    assert_eq!(class_of(&found[4]), Some(FailureClass::AboveCap));
    assert_eq!(class_of(&found[5]), Some(FailureClass::RecipientRefused));
    assert!(format!("{:?}", found[5]).contains(&blocked.to_string()), "{:?}", found[5]);
    assert_eq!(class_of(&found[6]), Some(FailureClass::ZeroAmount));
    assert_eq!(class_of(&found[7]), Some(FailureClass::AboveCap));
    assert!(format!("{:?}", found[7]).contains("SGE"), "{:?}", found[7]);
    assert_eq!(found[8], Verdict::Fine);
}

#[tokio::test]
async fn an_exhausted_window_is_a_gate_of_its_token_even_when_the_same_batch_used_it_up() {
    let world = with_referrals(12).await;
    let batch: Vec<_> = (1..=12).map(|n| pay(n, 1_000 * USDC, 0)).collect();
    let found = verdicts(&world, &batch).await;
    assert!(found[..10].iter().all(|verdict| *verdict == Verdict::Fine));
    assert!(found[10..].iter().all(|verdict| gate_of(verdict) == Some(Gate::UsdcWindow)), "{found:?}");

    let hybrids: Vec<_> = (1..=11).map(|n| pay(n, USDC, 10_000 * SGE)).collect();
    assert_eq!(gate_of(&verdicts(&world, &hybrids).await[10]), Some(Gate::SgeWindow));
}

#[tokio::test]
async fn an_amount_above_the_windows_limit_is_permanent_and_a_closed_token_a_gate() {
    let world = with_referrals(1).await;
    let limits = |limit: u64| IAffiliatePayout::setWindowCall {
        token: world.deployed.usdc,
        limit: limit.try_into().unwrap(),
        window: 86_400.try_into().unwrap(),
    };
    world.as_admin(world.deployed.payout, limits(1_000_000)).await;
    assert_eq!(class_of(&verdict(&world, pay(1, 2 * USDC, 0)).await), Some(FailureClass::AboveCap));
    world.as_admin(world.deployed.payout, limits(0)).await;
    assert_eq!(gate_of(&verdict(&world, pay(1, 2 * USDC, 0)).await), Some(Gate::UsdcWindow));
    let off = IAffiliatePayout::setWindowCall {
        token: world.deployed.usdc,
        limit: alloy::primitives::Uint::MAX,
        window: 86_400.try_into().unwrap(),
    };
    world.as_admin(world.deployed.payout, off).await;
    assert_eq!(verdict(&world, pay(1, 2 * USDC, 0)).await, Verdict::Fine);
}

#[tokio::test]
async fn low_funds_are_a_gate_of_their_token() {
    let world = with_referrals(1).await;
    let everything = |token| IAffiliatePayout::withdrawCall {
        token,
        to: ADMIN,
        amount: U256::from(10).pow(U256::from(24)),
    };
    world.as_admin(world.deployed.payout, everything(world.deployed.sge)).await;
    assert_eq!(verdict(&world, pay(1, USDC, 0)).await, Verdict::Fine);
    assert_eq!(gate_of(&verdict(&world, pay(1, USDC, SGE)).await), Some(Gate::SgeFloat));
    world.as_admin(world.deployed.payout, everything(world.deployed.usdc)).await;
    assert_eq!(gate_of(&verdict(&world, pay(1, USDC, 0)).await), Some(Gate::UsdcFloat));
}

#[tokio::test]
async fn a_paused_token_or_a_refused_payer_is_a_gate() {
    let world = with_referrals(2).await;
    let usdc = world.deployed.usdc;
    world.as_admin(usdc, TestToken::pauseCall {}).await;
    let found = verdicts(&world, &[pay(1, USDC, 0), payout("sge", wallet(2), wallet(102), 0, SGE)]).await;
    assert_eq!(gate_of(&found[0]), Some(Gate::UsdcPaused));
    assert_eq!(found[1], Verdict::Fine);
    world.as_admin(usdc, TestToken::unpauseCall {}).await;
    let account = world.deployed.payout;
    world.as_admin(usdc, TestToken::setBlocklistedCall { account, blocked: true }).await;
    assert_eq!(gate_of(&verdict(&world, pay(1, USDC, 0)).await), Some(Gate::UsdcPaused));
}

#[tokio::test]
async fn a_pause_or_a_missing_role_gates_every_item() {
    let world = with_referrals(3).await;
    let items: Vec<_> = (1..=3).map(|n| pay(n, USDC, 0)).collect();
    let referral = [Register { child: wallet(20), referrer: wallet(120) }];
    world.as_admin(world.deployed.payout, IAffiliatePayout::pauseCall {}).await;
    world.as_admin(world.deployed.registry, IAffiliateRegistry::pauseCall {}).await;
    assert!(verdicts(&world, &items).await.iter().all(|v| gate_of(v) == Some(Gate::PayoutPaused)));
    let at = world.at().await;
    let found = world.chain.simulate_registrations(&referral, at).await.unwrap();
    assert_eq!(gate_of(&found[0]), Some(Gate::RegistryPaused));
    let conditions = world.chain.conditions(RELAYER, at).await.unwrap();
    assert!(conditions.registry_paused && conditions.payout_paused);

    world.as_admin(world.deployed.payout, IAffiliatePayout::unpauseCall {}).await;
    let stranger = client(&[world.anvil.http()], world.deployed, wallet(9).address());
    let found = stranger.simulate_payouts(&items, world.at().await).await.unwrap();
    assert!(found.iter().all(|v| gate_of(v) == Some(Gate::PayoutPaused)), "{found:?}");
    assert!(format!("{:?}", found[0]).contains("lacks role"), "{:?}", found[0]);
    assert_eq!(world.chain.has_roles(RELAYER).await, Ok((true, true)));
    assert_eq!(world.chain.has_roles(wallet(9).address()).await, Ok((false, false)));
}

#[tokio::test]
async fn the_same_payment_twice_in_one_question_is_no_evidence_of_payment() {
    let world = with_referrals(1).await;
    let same = pay(1, USDC, 0);
    assert_eq!(verdicts(&world, &[same.clone(), same.clone(), same]).await, vec![Verdict::Fine; 3]);
}

#[tokio::test]
async fn more_items_than_one_call_carries_are_all_answered_in_order() {
    let world = with_referrals(2).await;
    let mut items: Vec<_> = (0..230)
        .map(|n| payout(&format!("many_{n}"), wallet(1), wallet(101), 1, u128::from(n % 2 == 0)))
        .collect();
    items[150] = payout("stranger", wallet(77), wallet(101), 1, 0);
    let found = verdicts(&world, &items).await;
    assert_eq!(found.len(), 230);
    for (index, verdict) in found.iter().enumerate() {
        assert_eq!(
            *verdict,
            if index == 150 { Verdict::NotRegistered } else { Verdict::Fine },
            "item {index}"
        );
    }
}

#[tokio::test]
async fn a_token_that_burns_much_gas_starves_no_neighbour() {
    let world = with_referrals(3).await;
    let hog = wallet(102).address();
    let burn = |amount| TestToken::setBurnedGasCall { recipient: hog, amount };
    let items = [pay(1, USDC, 0), pay(2, USDC, 0), pay(3, USDC, 0)];
    // More than a batch gives one transfer, less than a lone call has.
    world.as_admin(world.deployed.usdc, burn(120_000)).await;
    assert_eq!(verdicts(&world, &items).await, vec![Verdict::Fine; 3]);
    world.as_admin(world.deployed.usdc, burn(10_000_000)).await;
    let found = verdicts(&world, &items).await;
    assert_eq!((&found[0], &found[2]), (&Verdict::Fine, &Verdict::Fine));
    assert_eq!(class_of(&found[1]), Some(FailureClass::UnclearRevert), "{:?}", found[1]);
}

#[tokio::test]
async fn registrations_are_judged_each_on_its_own() {
    let world = with_referrals(2).await;
    let of = |child, referrer| Register { child: wallet(child), referrer: wallet(referrer) };
    let items = [of(5, 6), of(1, 101), of(1, 102), of(7, 7), of(101, 1), of(8, 9), of(8, 10), of(9, 8)];
    let found = world.chain.simulate_registrations(&items, world.at().await).await.unwrap();
    assert_eq!(found[0], Verdict::Fine);
    assert_eq!(found[1], Verdict::AlreadyDone);
    assert_eq!(class_of(&found[2]), Some(FailureClass::ReferrerConflict));
    assert!(format!("{:?}", found[2]).contains(&wallet(101).to_string()), "{:?}", found[2]);
    assert_eq!(class_of(&found[3]), Some(FailureClass::SelfReferral));
    assert_eq!(class_of(&found[4]), Some(FailureClass::ReferralCycle));
    // Rivals within one question are no evidence against each other.
    assert!(found[5..].iter().all(|verdict| *verdict == Verdict::Fine), "{found:?}");
}

#[tokio::test]
async fn reads_are_answered_for_the_block_they_name() {
    let world = with_referrals(1).await;
    let paid = pay(1, 3 * USDC, 2 * SGE);
    let before = world.head().await;
    pay_now(&world, std::slice::from_ref(&paid)).await;
    let after = world.head().await;
    let chain = &world.chain;

    assert_eq!(after.parent, before.hash);
    assert_eq!(chain.block_at(before.number).await.unwrap(), before);
    let ids = [paid.payment_id, pay(1, 1, 0).payment_id];
    assert_eq!(agreed(chain.paid_at(&ids, before.hash).await), [None, None]);
    assert_eq!(agreed(chain.paid_at(&ids, after.hash).await), [Some(after.number), None]);
    let nonce = agreed(chain.nonce_at(RELAYER, before.hash).await);
    assert_eq!(agreed(chain.nonce_at(RELAYER, after.hash).await), nonce.next());
    assert_eq!(nonce_of(chain, RELAYER).await, nonce.next());
    assert_eq!(agreed(chain.referrers(&[wallet(1), wallet(2)], after.hash).await), [Some(wallet(101)), None]);
    assert_eq!(
        chain.simulate_payouts(std::slice::from_ref(&paid), before.hash).await.unwrap(),
        [Verdict::Fine]
    );
    assert_eq!(chain.simulate_payouts(&[paid], after.hash).await.unwrap(), [Verdict::AlreadyDone]);

    let old = chain.conditions(RELAYER, before.hash).await.unwrap();
    let new = chain.conditions(RELAYER, after.hash).await.unwrap();
    assert_eq!(old.usdc.window_left.base_units() - new.usdc.window_left.base_units(), 3 * USDC);
    assert_eq!(old.sge.funds.base_units() - new.sge.funds.base_units(), 2 * SGE);
    assert_eq!(
        (new.usdc.cap.base_units(), new.usdc.window_limit.base_units()),
        (1_000 * USDC, 10_000 * USDC)
    );
    assert_eq!(new.usdc.window_seconds, 86_400);
    assert!(new.signer_balance > 0 && new.signer_balance < old.signer_balance);
}

#[tokio::test]
async fn many_ids_and_wallets_are_read_in_chunks() {
    let world = with_referrals(1).await;
    let at = world.at().await;
    let ids: Vec<_> = (0..1_201).map(|n| pay(n, 1, 0).payment_id).collect();
    assert_eq!(agreed(world.chain.paid_at(&ids, at).await), vec![None; 1_201]);
    let children: Vec<Wallet> = (1..=1_001).map(wallet).collect();
    let referrers = agreed(world.chain.referrers(&children, at).await);
    assert_eq!((referrers.len(), referrers[0], referrers[1_000]), (1_001, Some(wallet(101)), None));
}

#[tokio::test]
async fn a_block_that_is_not_there_is_an_unknown_block_and_not_an_answer() {
    let world = World::start().await;
    let nowhere = Hash32::from(B256::repeat_byte(7));
    let unknown = |error: ChainError| assert!(matches!(error, ChainError::UnknownBlock { .. }), "{error:?}");
    unknown(world.chain.block_at(BlockNumber::new(1_000_000)).await.unwrap_err());
    unknown(world.chain.nonce_at(RELAYER, nowhere).await.unwrap_err());
    unknown(world.chain.paid_at(&[pay(1, 1, 0).payment_id], nowhere).await.unwrap_err());
    unknown(world.chain.simulate_payouts(&[pay(1, 1, 0)], nowhere).await.unwrap_err());
    unknown(world.chain.conditions(RELAYER, nowhere).await.unwrap_err());

    world.anvil.mine(3).await;
    let gone = world.at().await;
    world.anvil.rpc("anvil_reorg", serde_json::json!([2, []])).await;
    unknown(world.chain.paid_at(&[pay(1, 1, 0).payment_id], gone).await.unwrap_err());
    unknown(world.chain.nonce_at(RELAYER, gone).await.unwrap_err());
}

#[tokio::test]
async fn events_tell_what_was_done_and_why_items_failed() {
    let world = with_referrals(3).await;
    let from = BlockNumber::new(world.deployed.block);
    let blocked = wallet(102).address();
    world
        .as_admin(world.deployed.usdc, TestToken::setBlocklistedCall { account: blocked, blocked: true })
        .await;
    let items = [pay(1, USDC, SGE), pay(2, USDC, 0), pay(3, 5_000 * USDC, 0)];
    let tx = pay_now(&world, &items).await;
    let referrals = vec![
        Referral { child: wallet(1).address(), referrer: wallet(103).address() },
        Referral { child: wallet(1).address(), referrer: wallet(101).address() },
    ];
    world
        .as_relayer(world.deployed.registry, IAffiliateRegistry::registerReferralBatchCall { referrals })
        .await;

    let to = world.head().await.number;
    let events = world.chain.events(from, to).await.unwrap();
    assert!(events.is_sorted_by_key(|event| (event.block, event.log_index)));
    let kinds: Vec<_> = events.iter().map(|event| &event.kind).collect();
    let registered = |n| ChainEventKind::Registered { child: wallet(n), referrer: wallet(100 + n) };
    assert_eq!(kinds[..3], [&registered(1), &registered(2), &registered(3)]);
    let paid = &items[0];
    let expected = ChainEventKind::Paid {
        payment: paid.payment_id,
        referrer: paid.referrer,
        child: paid.child,
        usdc: paid.commission.usdc,
        sge: paid.commission.sge,
    };
    assert!(kinds.contains(&&expected), "{kinds:?}");
    for (item, class) in [(&items[1], FailureClass::RecipientRefused), (&items[2], FailureClass::AboveCap)] {
        let told = kinds.iter().find_map(|kind| match kind {
            ChainEventKind::PayoutFailed { payment, verdict } if *payment == item.payment_id => Some(verdict),
            _ => None,
        });
        assert_eq!(told.and_then(class_of), Some(class));
    }
    let rejected: Vec<_> = kinds
        .iter()
        .filter_map(|kind| match kind {
            ChainEventKind::RegistrationRejected { verdict, .. } => Some(verdict),
            _ => None,
        })
        .collect();
    assert_eq!(class_of(rejected[0]), Some(FailureClass::ReferrerConflict));
    assert_eq!(*rejected[1], Verdict::AlreadyDone);

    let receipt = world.chain.receipt(tx.into()).await.unwrap().expect("a receipt");
    assert!(receipt.succeeded && receipt.gas_used > 21_000 && receipt.effective_gas_price > 0);
    assert_eq!(receipt.inclusion.hash, tx.into());
    let of_tx: Vec<_> = events.iter().filter(|event| event.tx_hash == tx.into()).cloned().collect();
    assert_eq!((receipt.events.len(), receipt.events), (3, of_tx));
    assert_eq!(world.chain.receipt(B256::repeat_byte(9).into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_call_is_explained_or_passes_with_the_gas_it_would_have() {
    let world = with_referrals(1).await;
    let at = world.at().await;
    let call = IAffiliatePayout::payAffiliateBatchCall { payouts: vec![item(&pay(1, USDC, 0))] };
    let ask = async |data: Vec<u8>, gas| {
        world.chain.simulate_call(world.deployed.payout, data.into(), gas, at).await.unwrap()
    };
    assert_eq!(ask(call.abi_encode(), 560_000).await, None);
    let starved = ask(call.abi_encode(), 150_000).await.expect("a revert");
    assert_eq!(class_of(&starved), Some(FailureClass::UnclearRevert), "{starved:?}");
    let lone = IAffiliatePayout::payAffiliateUSDCCall {
        paymentId: keccak256("x"),
        child: wallet(1).address(),
        referrer: wallet(102).address(),
        usdcAmount: U256::from(1),
    };
    assert_eq!(
        ask(lone.abi_encode(), 560_000).await.as_ref().and_then(class_of),
        Some(FailureClass::InvalidReferrer)
    );
}

#[tokio::test]
async fn simple_facts_of_the_chain_are_read() {
    let world = World::start().await;
    assert!(world.chain.check_endpoints().await.iter().all(|view| view.answer.is_ok()));
    assert_eq!(world.chain.has_code(world.deployed.payout).await, Ok(true));
    assert_eq!(world.chain.has_code(wallet(1).address()).await, Ok(false));
    assert!(!world.chain.priority_fees().await.unwrap().is_empty());
    let nonces = world.chain.takeover_nonces(wallet(1).address()).await.unwrap();
    assert_eq!((nonces[0].latest, nonces[0].pending), (Nonce::new(0), Nonce::new(0)));
    let head = world.head().await;
    assert!(head.gas_limit >= 30_000_000 && head.timestamp > 1_600_000_000);
}

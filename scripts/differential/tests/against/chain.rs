//! The simulated chain against Anvil and the real contracts: the same things happen to both at random, and after each of them
//! every method of the relayer's `Chain` must answer the same on both.

mod compare;
mod pair;
mod schedule;

use alloy::primitives::B256;
use kit::world::contracts::RELAYER;
use kit::world::{Mining, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use shared::ids::{BlockNumber, Hash32};
use sim::chain::Question;

use pair::{Checked, Pair};
use schedule::{Step, payments, payout, register, step, wallet, wallets};

/// Steps of one schedule.
const STEPS: usize = 110;
/// Of schedules that once found a difference. Others go other ways.
const SEEDS: [u64; 2] = [1, 2];

/// What is asked after a step.
fn questions(pair: &Pair, random: &mut StdRng) -> Vec<Question> {
    let chain = pair.simulated();
    let blocks = chain.blocks();
    let head = chain.head();
    let young = &blocks[blocks.len().saturating_sub(6)..];
    let mut any = || young.choose(random).unwrap().head;
    let (recent, other, pinned) = (any(), any(), any().hash);
    let some_gone = pair.gone.choose(random).copied().unwrap_or(Hash32::from(B256::repeat_byte(7)));
    let at = *[head.hash, head.hash, pinned, some_gone].choose(random).unwrap();
    let payouts: Vec<_> = (0..random.random_range(1..9)).map(|_| payout(random)).collect();
    let registers: Vec<_> = (0..random.random_range(1..7)).map(|_| register(random)).collect();
    let call = schedule::batch(&payouts[..payouts.len().min(3)]);
    let data = alloy::sol_types::SolCall::abi_encode(&call).into();
    let mut questions = vec![
        Question::Head,
        Question::BlockAt(recent.number),
        Question::AgreedBlock(other.number),
        Question::NonceAt { account: RELAYER, at },
        Question::NonceLatest(RELAYER),
        Question::TakeoverNonces(RELAYER),
        Question::Conditions { signer: RELAYER, at },
        Question::HasRoles(RELAYER),
        Question::SimulatePayouts { items: payouts, at },
        Question::SimulateRegistrations { items: registers, at },
        Question::SimulateCall { to: pair.contracts.payout, data, gas: 2_000_000, at },
        Question::PaidAt { payments: payments(), at },
        Question::Referrers { children: wallets(), at },
        Question::Events { from: blocks[0].head.number.next(), to: head.number },
        Question::EventsIn(at),
    ];
    match random.random_range(0..6) {
        0 => questions.push(Question::BlockAt(BlockNumber::new(head.number.get() + 3))),
        1 => questions.push(Question::PriorityFees),
        2 => questions.push(Question::HasCode(pair.contracts.usdc)),
        3 => questions.push(Question::HasCode(wallet(1).address())),
        _ => {}
    }
    let latest = pair.sent.iter().rev().take(6).chain(pair.sent.choose(random));
    questions.extend(latest.map(|(hash, _)| Question::Receipt(*hash)));
    questions
}

/// Does one schedule to both chains. A difference comes with what led to it.
async fn play(pair: &mut Pair, seed: u64, steps: usize) -> Checked {
    let mut random = StdRng::seed_from_u64(seed);
    let mut done: Vec<Step> = Vec::new();
    for number in 0..steps {
        let next = step(&mut random);
        done.push(next.clone());
        let two = random.random_bool(0.3);
        let told = |difference| {
            let steps: Vec<String> =
                done.iter().enumerate().map(|(at, step)| format!("  {at}: {step:?}")).collect();
            format!("seed {seed}, step {number}:\n{}\n{difference}", steps.join("\n"))
        };
        pair.step(&next, two).await.map_err(&told)?;
        for question in questions(pair, &mut random) {
            pair.compare(question, two).await.map_err(&told)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_answer_is_the_one_that_anvil_and_the_real_contracts_give() {
    let world = World::builder().relayers(0).without_api().mining(Mining::Manual).start().await.unwrap();
    let mut pair = Pair::new(world).await.unwrap();
    let mut substance = std::collections::BTreeMap::<&str, usize>::new();
    for seed in SEEDS {
        let snapshot = pair.snapshot().await.unwrap();
        if let Err(difference) = play(&mut pair, seed, STEPS).await {
            panic!("{difference}");
        }
        println!("seed {seed}: {:?}", pair.substance);
        *substance.entry("PaidAt").or_default() += pair.substance.get("PaidAt").copied().unwrap_or_default();
        pair = pair.back_to(snapshot).await.unwrap();
    }
    assert!(substance["PaidAt"] > 0, "nothing was ever paid");
}

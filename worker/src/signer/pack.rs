//! Which jobs share a transaction, pure. Order is kept within a kind; jobs of different kinds never mix; what does not fit
//! into the money that is left waits or is parked, and never holds up what does.

use shared::ids::{JobId, Nonce};
use shared::job::{Failure, FailureClass, Kind, Payload};
use shared::money::{Commission, Sge, Usdc};
use shared::store::{Brief, Departure, Exit};

use crate::chain::{Gate, TokenRoom};
use crate::verdict;

/// What one pass may spend.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// The most gas per transaction: `BATCH_GAS`, the block's gas limit and the protocol's cap, whichever is least.
    pub gas_per_tx: u64,
    /// Nonces that may still be opened.
    pub txs: usize,
    pub usdc: TokenRoom<Usdc>,
    pub sge: TokenRoom<Sge>,
    /// What open transactions will still spend of both.
    pub reserved: Commission,
    pub registry_paused: bool,
    pub payout_paused: bool,
    /// Whether nothing else is ready. Where more is, it fills the last transaction of a kind with what comes next.
    pub is_all: bool,
}

/// A transaction to sign.
#[derive(Debug, Clone)]
pub struct Packed {
    pub kind: Kind,
    pub items: Vec<Brief>,
    pub gas_limit: u64,
    /// Whether what comes next of its kind did not fit.
    pub is_full: bool,
}

/// The outcome of a pass.
#[derive(Debug, Default)]
pub struct Plan {
    pub txs: Vec<Packed>,
    /// Jobs that leave the queue instead.
    pub departures: Vec<Departure>,
    /// Gates to close before the departures.
    pub close: Vec<(Gate, String)>,
    /// Jobs that wait until open transactions have settled.
    pub waiting: Vec<JobId>,
}

/// Packs `ready`, oldest first. `gas_of` prices a transaction of these items for its worst case.
pub fn plan(ready: &[Brief], budget: &Budget, gas_of: impl Fn(Kind, &[Brief]) -> u64) -> Plan {
    let mut plan = Plan::default();
    let mut packer = Packer { budget, spent: budget.reserved, plan: &mut plan };
    let fitting: Vec<&Brief> = ready.iter().filter(|job| packer.fits(job)).collect();
    for kind in Kind::ALL {
        let before = plan.txs.len();
        let mut open: Option<Packed> = None;
        for &job in fitting.iter().filter(|job| job.payload.kind() == kind) {
            open = Some(match open.take().map(|packed| extend(packed, job, budget.gas_per_tx, &gas_of)) {
                Some(Ok(grown)) => grown,
                full => {
                    if let Some(Err(full)) = full {
                        plan.txs.push(Packed { is_full: true, ..full });
                    }
                    let items = vec![job.clone()];
                    let gas_limit = gas_of(kind, &items);
                    if gas_limit > budget.gas_per_tx {
                        plan.departures.push(too_large(job, gas_limit, budget.gas_per_tx));
                        continue;
                    }
                    Packed { kind, items, gas_limit, is_full: false }
                }
            });
        }
        // What waits is the oldest of its kind in the next pass, and goes into the first transaction there.
        if budget.is_all || plan.txs.len() == before {
            plan.txs.extend(open);
        }
    }
    plan.txs.truncate(budget.txs);
    plan
}

/// Adds `job`, or gives the full transaction back.
fn extend(
    mut packed: Packed,
    job: &Brief,
    most_gas: u64,
    gas_of: &impl Fn(Kind, &[Brief]) -> u64,
) -> Result<Packed, Packed> {
    let bound = packed.items.iter().chain([job]).map(|item| item.pack_max).filter(|max| *max > 0).min();
    if bound.is_some_and(|most| packed.items.len() >= most as usize) {
        return Err(packed);
    }
    packed.items.push(job.clone());
    let gas = gas_of(packed.kind, &packed.items);
    if gas > most_gas {
        packed.items.pop();
        return Err(packed);
    }
    packed.gas_limit = gas;
    Ok(packed)
}

fn too_large(job: &Brief, gas: u64, most: u64) -> Departure {
    let reason = format!("needs {gas} gas alone, a transaction may have {most}");
    let failure = Failure::new(FailureClass::TooLarge, reason);
    departure(job, None, Exit::Fail { failure, charge: false })
}

/// What becomes of items whose transaction no node would take, whatever the gas table said: smaller ones are tried, and one
/// alone fails.
pub fn refused(items: &[Brief], problem: &str) -> Vec<Departure> {
    let half = u32::try_from(items.len().div_ceil(2)).unwrap_or(1);
    let exit = match items.len() {
        1 => Exit::Fail { failure: Failure::new(FailureClass::TooLarge, problem), charge: false },
        _ => Exit::BackOff { delay: std::time::Duration::ZERO, charge: false, failure: None },
    };
    items.iter().map(|job| Departure { pack_max: Some(half), ..departure(job, None, exit.clone()) }).collect()
}

/// A departure of `job` at the epoch at which it was read.
pub fn departure(job: &Brief, nonce: Option<Nonce>, exit: Exit) -> Departure {
    Departure { job: job.id, epoch: job.epoch, nonce, pack_max: None, exit }
}

struct Packer<'a> {
    budget: &'a Budget,
    spent: Commission,
    plan: &'a mut Plan,
}

impl Packer<'_> {
    /// Whether the money left covers `job`; if so it is reserved.
    fn fits(&mut self, job: &Brief) -> bool {
        let Payload::Payout(payout) = &job.payload else {
            return !self.budget.registry_paused
                || self.park(job, Gate::RegistryPaused, "the registry is paused");
        };
        if self.budget.payout_paused {
            return self.park(job, Gate::PayoutPaused, "the payout contract is paused");
        }
        let wanted = payout.commission;
        let gate = self.lacking(wanted);
        if let Some((gate, reason)) = gate {
            return self.park(job, gate, &reason);
        }
        let (Some(usdc), Some(sge)) =
            (self.spent.usdc.checked_add(wanted.usdc), self.spent.sge.checked_add(wanted.sge))
        else {
            return false;
        };
        let (usdc_room, sge_room) = (room(&self.budget.usdc), room(&self.budget.sge));
        let sge_fits = wanted.sge.is_zero() || sge <= sge_room;
        let usdc_fits = wanted.usdc.is_zero() || usdc <= usdc_room;
        if !usdc_fits || !sge_fits {
            self.plan.waiting.push(job.id);
            return false;
        }
        self.spent = Commission { usdc, sge };
        true
    }

    /// Parks `job`; it does not fit.
    fn park(&mut self, job: &Brief, gate: Gate, reason: &str) -> bool {
        self.plan.departures.push(departure(job, None, verdict::park(gate, reason)));
        if !self.plan.close.iter().any(|(closed, _)| *closed == gate) {
            self.plan.close.push((gate, reason.to_owned()));
        }
        false
    }

    /// The gate that `wanted` would meet even if nothing else were under way.
    fn lacking(&self, wanted: Commission) -> Option<(Gate, String)> {
        let (usdc, sge) = (&self.budget.usdc, &self.budget.sge);
        let tell = |what: &str, wanted: u128, left: u128| {
            format!("{what}: {wanted} base units are due, {left} are left")
        };
        if wanted.usdc > usdc.funds {
            return Some((
                Gate::UsdcFloat,
                tell("USDC float", wanted.usdc.base_units(), usdc.funds.base_units()),
            ));
        }
        if wanted.usdc > usdc.window_left {
            let left = usdc.window_left.base_units();
            return Some((Gate::UsdcWindow, tell("USDC window", wanted.usdc.base_units(), left)));
        }
        if wanted.sge > sge.funds {
            return Some((
                Gate::SgeFloat,
                tell("SGE float", wanted.sge.base_units(), sge.funds.base_units()),
            ));
        }
        if wanted.sge > sge.window_left {
            let left = sge.window_left.base_units();
            return Some((Gate::SgeWindow, tell("SGE window", wanted.sge.base_units(), left)));
        }
        None
    }
}

fn room<T: Copy + Ord>(token: &TokenRoom<T>) -> T {
    token.funds.min(token.window_left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::{Epoch, PaymentId, Wallet};
    use shared::job::{Payout, Register};
    use shared::job_state::Stage;

    fn wallet(n: u8) -> Wallet {
        format!("0x{n:040x}").parse().unwrap()
    }

    fn brief(payload: Payload, pack_max: u32) -> Brief {
        Brief {
            id: JobId::generate(),
            epoch: Epoch::new(1),
            payload,
            attempts: 0,
            pack_max,
            refund_requested: false,
            created_at: 0,
            stage: Stage::Ready,
            nonce: None,
        }
    }

    fn payout(usdc: u128, pack_max: u32) -> Brief {
        let commission = Commission { usdc: Usdc::from_base_units(usdc), sge: Sge::ZERO };
        let payload = Payload::Payout(Payout {
            payment_id: PaymentId::derive("payments", &usdc.to_string()),
            source: "payments".parse().unwrap(),
            external_id: "pay_1".parse().unwrap(),
            child: wallet(1),
            referrer: wallet(2),
            commission,
        });
        brief(payload, pack_max)
    }

    fn registration() -> Brief {
        brief(Payload::Register(Register { child: wallet(1), referrer: wallet(2) }), 0)
    }

    fn budget(usdc: u128) -> Budget {
        let open = |funds| TokenRoom {
            funds,
            window_left: Usdc::from_base_units(u128::MAX),
            cap: Usdc::from_base_units(u128::MAX),
            window_limit: Usdc::from_base_units(u128::MAX),
            window_seconds: 1,
        };
        let none = Sge::from_base_units(u128::MAX);
        Budget {
            gas_per_tx: 400,
            txs: 16,
            usdc: open(Usdc::from_base_units(usdc)),
            sge: TokenRoom {
                funds: none,
                window_left: none,
                cap: none,
                window_limit: none,
                window_seconds: 1,
            },
            reserved: Commission::default(),
            registry_paused: false,
            payout_paused: false,
            is_all: true,
        }
    }

    /// A hundred gas per item.
    fn gas(_: Kind, items: &[Brief]) -> u64 {
        100 * items.len() as u64
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        plan.txs.iter().map(|tx| tx.items.len()).collect()
    }

    #[test]
    fn a_backlog_is_packed_up_to_the_gas_budget() {
        let ready: Vec<_> = (1..=10).map(|n| payout(n, 0)).collect();
        assert_eq!(sizes(&plan(&ready, &budget(1000), gas)), [4, 4, 2]);
    }

    #[test]
    fn while_more_is_ready_the_last_of_a_kind_waits_for_it_behind_a_full_one() {
        let budget = Budget { is_all: false, ..budget(1000) };
        let pack = |ready: Vec<Brief>| sizes(&plan(&ready, &budget, gas));
        assert_eq!(pack((1..=10).map(|n| payout(n, 0)).collect()), [4, 4]);
        assert_eq!(pack((1..=3).map(|n| payout(n, 0)).collect()), [3], "nothing else would be signed");
        let mixed = (1..=5).map(|n| payout(n, 0)).chain([registration()]).collect();
        assert_eq!(pack(mixed), [1, 4], "another kind is not waited for");
    }

    #[test]
    fn kinds_never_share_a_transaction_and_registrations_go_first() {
        let plan = plan(&[payout(1, 0), registration(), payout(2, 0)], &budget(1000), gas);
        assert_eq!(
            plan.txs.iter().map(|tx| (tx.kind, tx.items.len())).collect::<Vec<_>>(),
            [(Kind::Register, 1), (Kind::Payout, 2)]
        );
    }

    #[test]
    fn a_job_from_a_reverted_batch_is_only_put_into_smaller_ones() {
        let ready = vec![payout(1, 2), payout(2, 2), payout(3, 2), payout(4, 1), payout(5, 0)];
        assert_eq!(sizes(&plan(&ready, &budget(1000), gas)), [2, 1, 1, 1]);
    }

    #[test]
    fn what_the_float_cannot_cover_is_parked_and_the_rest_goes_on() {
        let plan = plan(&[payout(500, 0), payout(10, 0)], &budget(100), gas);
        assert_eq!((sizes(&plan), plan.departures.len(), plan.close.len()), (vec![1], 1, 1));
        assert!(matches!(&plan.departures[0].exit, Exit::Park { gate, .. } if gate == "token:usdc:float"));
    }

    #[test]
    fn what_open_transactions_have_reserved_is_waited_for_and_not_parked() {
        let mut budget = budget(100);
        budget.reserved.usdc = Usdc::from_base_units(95);
        let plan = plan(&[payout(10, 0), payout(5, 0)], &budget, gas);
        assert_eq!((sizes(&plan), plan.waiting.len(), plan.departures.len()), (vec![1], 1, 0));
    }

    #[test]
    fn nothing_is_signed_into_a_paused_contract() {
        let budget = Budget { payout_paused: true, ..budget(1000) };
        let plan = plan(&[payout(1, 0), registration()], &budget, gas);
        assert_eq!((sizes(&plan), plan.departures.len(), plan.close[0].0), (vec![1], 1, Gate::PayoutPaused));
    }

    #[test]
    fn a_transaction_that_no_node_would_take_is_refused_before_it_gets_a_nonce() {
        let plan = plan(&[payout(1, 0)], &budget(1000), |_, _| 401);
        assert!(plan.txs.is_empty());
        let Exit::Fail { failure, charge: false } = &plan.departures[0].exit else { panic!("not refused") };
        assert_eq!(failure.class, FailureClass::TooLarge);
    }

    #[test]
    fn no_more_transactions_are_packed_than_nonces_may_be_opened() {
        let ready: Vec<_> = (1..=40).map(|n| payout(n, 1)).collect();
        let budget = Budget { txs: 3, ..budget(10_000) };
        assert_eq!(plan(&ready, &budget, gas).txs.len(), 3);
    }
}

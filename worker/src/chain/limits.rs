//! Which limit stopped an item: the contract's own check order, mirrored over limits read at the same block.
//!
//! A batch tells only *that* an item met a cap, a window or the funds. Which token it was follows from the limits at the
//! block and from what the items before it took, without another call. Pure.

use shared::job::{FailureClass, Payout};

use super::decode::{self, Token};
use super::{Conditions, TokenRoom, Verdict};

impl<T: Ord> TokenRoom<T> {
    fn kinder(self, other: Self) -> Self {
        Self {
            funds: self.funds.max(other.funds),
            window_left: self.window_left.max(other.window_left),
            cap: self.cap.max(other.cap),
            window_limit: self.window_limit.max(other.window_limit),
            window_seconds: self.window_seconds.max(other.window_seconds),
        }
    }
}

impl Conditions {
    /// Of what two endpoints say about one block, which should be the same, the more permissive in each field: the contract
    /// enforces its limits anyway, and a limit that is not there would keep the lane closed.
    #[must_use]
    pub fn kinder(self, other: Self) -> Self {
        Self {
            registry_paused: self.registry_paused && other.registry_paused,
            payout_paused: self.payout_paused && other.payout_paused,
            usdc: self.usdc.kinder(other.usdc),
            sge: self.sge.kinder(other.sge),
            signer_balance: self.signer_balance.max(other.signer_balance),
        }
    }
}

/// What is left of both tokens while a batch goes on.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    usdc: Room,
    sge: Room,
}

#[derive(Debug, Clone, Copy)]
struct Room {
    token: Token,
    cap: u128,
    limit: u128,
    left: u128,
    funds: u128,
}

impl Room {
    fn spend(&mut self, amount: u128) {
        // `u128::MAX` stands for a window that is off, and stays so.
        if self.left != u128::MAX {
            self.left = self.left.saturating_sub(amount);
        }
        self.funds = self.funds.saturating_sub(amount);
    }

    fn exhausted(&self, amount: u128) -> Verdict {
        let (name, left) = (self.token.name(), self.left);
        if amount > self.limit && self.limit != 0 {
            // No waiting helps: even an empty window is too small.
            let reason =
                format!("{amount} base units of {name} are above the window's limit of {}", self.limit);
            return decode::fails(FailureClass::AboveCap, reason);
        }
        decode::gate(
            self.token.window(),
            format!("needs {amount} base units of {name}, the window has {left} left"),
        )
    }
}

impl Budget {
    pub fn new(conditions: &Conditions) -> Self {
        fn room<T: Copy>(token: Token, room: &TokenRoom<T>, units: fn(T) -> u128) -> Room {
            Room {
                token,
                cap: units(room.cap),
                limit: units(room.window_limit),
                left: units(room.window_left),
                funds: units(room.funds),
            }
        }
        Self {
            usdc: room(Token::Usdc, &conditions.usdc, shared::money::Usdc::base_units),
            sge: room(Token::Sge, &conditions.sge, shared::money::Sge::base_units),
        }
    }

    /// An item before was paid.
    pub fn spend(&mut self, item: &Payout) {
        self.usdc.spend(item.commission.usdc.base_units());
        self.sge.spend(item.commission.sge.base_units());
    }

    /// The limit that stops `item`, in the contract's order. `None`: none does, so somebody else's rule did.
    pub fn stops(&self, item: &Payout) -> Option<Verdict> {
        let both =
            [(self.usdc, item.commission.usdc.base_units()), (self.sge, item.commission.sge.base_units())];
        let over = |bound: fn(&Room) -> u128| both.iter().find(move |(room, amount)| *amount > bound(room));
        if let Some((room, amount)) = over(|room| room.cap) {
            return Some(decode::above_cap(room.token, amount, alloy::primitives::U256::from(room.cap)));
        }
        if let Some((room, amount)) = over(|room| room.left) {
            return Some(room.exhausted(*amount));
        }
        over(|room| room.funds).map(|(room, amount)| {
            let text =
                format!("needs {amount} base units of {}, {} are at hand", room.token.name(), room.funds);
            decode::gate(room.token.float(), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gate;
    use super::*;
    use shared::money::{Commission, Sge, Usdc};

    fn item(usdc: u128, sge: u128) -> Payout {
        Payout {
            payment_id: shared::ids::PaymentId::derive("payments", "pay_1"),
            source: "payments".parse().unwrap(),
            external_id: "pay_1".parse().unwrap(),
            child: "0x00000000000000000000000000000000000000c1".parse().unwrap(),
            referrer: "0x00000000000000000000000000000000000000f1".parse().unwrap(),
            commission: Commission { usdc: Usdc::from_base_units(usdc), sge: Sge::from_base_units(sge) },
        }
    }

    fn budget(usdc: [u128; 4], sge: [u128; 4]) -> Budget {
        let of = |token, [cap, limit, left, funds]: [u128; 4]| Room { token, cap, limit, left, funds };
        Budget { usdc: of(Token::Usdc, usdc), sge: of(Token::Sge, sge) }
    }

    fn gate_of(verdict: Option<Verdict>) -> Option<Gate> {
        match verdict {
            Some(Verdict::Gate { gate, .. }) => Some(gate),
            _ => None,
        }
    }

    #[test]
    fn of_two_conditions_each_field_is_the_more_permissive() {
        let room = |[funds, window_left, cap, window_limit]: [u128; 4]| TokenRoom {
            funds: Usdc::from_base_units(funds),
            window_left: Usdc::from_base_units(window_left),
            cap: Usdc::from_base_units(cap),
            window_limit: Usdc::from_base_units(window_limit),
            window_seconds: 60,
        };
        let sge = TokenRoom {
            funds: Sge::ZERO,
            window_left: Sge::ZERO,
            cap: Sge::ZERO,
            window_limit: Sge::ZERO,
            window_seconds: 60,
        };
        let of = |paused, usdc, signer_balance| Conditions {
            registry_paused: paused,
            payout_paused: !paused,
            usdc: room(usdc),
            sge,
            signer_balance,
        };
        let (one, other) = (of(true, [1, 9, 3, 7], 5), of(false, [8, 2, 6, 4], 0));
        let wanted = Conditions { payout_paused: false, ..of(false, [8, 9, 6, 7], 5) };
        assert_eq!((one.kinder(other), other.kinder(one)), (wanted, wanted));
        assert!(one.kinder(one).registry_paused, "paused where both say so");
    }

    const PLENTY: [u128; 4] = [u128::MAX; 4];

    #[test]
    fn the_token_that_is_short_names_the_gate() {
        let short_of = |usdc, sge| gate_of(budget(usdc, sge).stops(&item(10, 20)));
        assert_eq!(short_of([99, 99, 9, 99], PLENTY), Some(Gate::UsdcWindow));
        assert_eq!(short_of(PLENTY, [99, 99, 19, 99]), Some(Gate::SgeWindow));
        assert_eq!(short_of([99, 99, 99, 9], PLENTY), Some(Gate::UsdcFloat));
        assert_eq!(short_of(PLENTY, [99, 99, 99, 19]), Some(Gate::SgeFloat));
        assert_eq!(budget(PLENTY, PLENTY).stops(&item(10, 20)), None);
    }

    #[test]
    fn what_items_before_took_counts_unless_the_window_is_off() {
        let mut left = budget([99, 99, 15, u128::MAX], PLENTY);
        assert_eq!(left.stops(&item(10, 0)), None);
        left.spend(&item(10, 0));
        assert_eq!(gate_of(left.stops(&item(10, 0))), Some(Gate::UsdcWindow));
        let mut off = budget(PLENTY, PLENTY);
        off.spend(&item(10, 0));
        assert_eq!(off.usdc.left, u128::MAX);
    }

    #[test]
    fn an_amount_above_the_limit_itself_is_permanent_and_a_closed_token_is_a_gate() {
        let above = budget([99, 9, 9, 99], PLENTY).stops(&item(10, 0));
        assert!(matches!(above, Some(Verdict::Fails(failure)) if failure.class == FailureClass::AboveCap));
        let capped = budget([9, 99, 99, 99], PLENTY).stops(&item(10, 0));
        assert!(matches!(capped, Some(Verdict::Fails(failure)) if failure.class == FailureClass::AboveCap));
        assert_eq!(gate_of(budget([99, 0, 0, 99], PLENTY).stops(&item(10, 0))), Some(Gate::UsdcWindow));
        assert_eq!(gate_of(budget([0, 99, 99, 99], PLENTY).stops(&item(10, 0))), Some(Gate::UsdcWindow));
    }

    #[test]
    fn caps_come_before_windows_and_windows_before_funds() {
        let all_short = budget([99, 99, 1, 1], [9, 99, 99, 99]).stops(&item(10, 20));
        assert!(matches!(all_short, Some(Verdict::Fails(_))), "{all_short:?}");
        assert_eq!(
            gate_of(budget([99, 99, 99, 1], [99, 99, 1, 99]).stops(&item(10, 20))),
            Some(Gate::SgeWindow)
        );
    }
}

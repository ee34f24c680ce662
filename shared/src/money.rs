//! Money: integers in base units, everywhere. A decimal text is parsed once, at the edge, and never becomes a float.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a text is no amount.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum MoneyError {
    #[error("`{0}` is not a decimal amount: expected digits with an optional fraction, such as 129.90")]
    Malformed(String),
    #[error("`{0}` is not above zero")]
    NotPositive(String),
    #[error("`{value}` has more than {decimals} decimals")]
    TooPrecise { value: String, decimals: u32 },
    #[error("`{0}` is above 2^96 base units")]
    TooLarge(String),
    #[error("`{0}` is not a number of basis points: expected 0 to 10000")]
    BasisPoints(String),
}

macro_rules! base_units {
    ($(#[$doc:meta])* $name:ident, $decimals:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(u128);

        impl $name {
            pub const DECIMALS: u32 = $decimals;
            pub const ZERO: Self = Self(0);

            pub const fn from_base_units(units: u128) -> Self {
                Self(units)
            }

            pub const fn base_units(self) -> u128 {
                self.0
            }

            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            pub fn u256(self) -> U256 {
                U256::from(self.0)
            }

            /// The amount as a decimal number of whole tokens, for people.
            pub fn to_decimal(self) -> String {
                let one = 10u128.pow(Self::DECIMALS);
                let fraction = format!("{:0width$}", self.0 % one, width = Self::DECIMALS as usize);
                match fraction.trim_end_matches('0') {
                    "" => (self.0 / one).to_string(),
                    digits => format!("{}.{digits}", self.0 / one),
                }
            }
        }

        /// Base units, as a decimal integer.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = MoneyError;
            /// Reads base units: a decimal integer.
            fn from_str(text: &str) -> Result<Self, MoneyError> {
                text.parse().map(Self).map_err(|_| MoneyError::Malformed(text.chars().take(80).collect()))
            }
        }

        impl TryFrom<U256> for $name {
            type Error = MoneyError;
            fn try_from(value: U256) -> Result<Self, MoneyError> {
                u128::try_from(value).map(Self).map_err(|_| MoneyError::TooLarge(value.to_string()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

base_units!(
    /// USDC in base units (six decimals).
    Usdc,
    6
);
base_units!(
    /// SGE in base units (eighteen decimals).
    Sge,
    18
);

impl Usdc {
    /// The largest amount a payment may have: 2^96 base units.
    pub const MAX_PAYMENT: Self = Self(1 << 96);

    /// Reads a payment's amount: whole units with at most six decimals, above zero, at most [`Usdc::MAX_PAYMENT`].
    pub fn parse_payment(text: &str) -> Result<Self, MoneyError> {
        let shown = || text.chars().take(80).collect::<String>();
        if let Some(rest) = text.strip_prefix('-') {
            parse_fixed(rest, Self::DECIMALS)?;
            return Err(MoneyError::NotPositive(shown()));
        }
        let amount = Self(parse_fixed(text, Self::DECIMALS)?);
        if amount.is_zero() {
            return Err(MoneyError::NotPositive(shown()));
        }
        if amount > Self::MAX_PAYMENT {
            return Err(MoneyError::TooLarge(shown()));
        }
        Ok(amount)
    }
}

/// Reads a decimal text as an integer of `10^-decimals`.
fn parse_fixed(text: &str, decimals: u32) -> Result<u128, MoneyError> {
    let shown = || text.chars().take(80).collect::<String>();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(MoneyError::Malformed(shown()));
    }
    if fraction.len() > decimals as usize {
        return Err(MoneyError::TooPrecise { value: shown(), decimals });
    }
    let padded = format!("{whole}{fraction:0<width$}", width = decimals as usize);
    padded.parse().map_err(|_| MoneyError::TooLarge(shown()))
}

/// Hundredths of a percent, 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasisPoints(u16);

impl BasisPoints {
    pub const WHOLE: u128 = 10_000;

    pub const fn get(self) -> u16 {
        self.0
    }

    /// This share of `amount`, rounded down.
    pub fn of(self, amount: Usdc) -> Usdc {
        let share = U256::from(amount.0) * U256::from(self.0) / U256::from(Self::WHOLE);
        Usdc(share.to::<u128>())
    }
}

impl FromStr for BasisPoints {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match text.parse::<u16>() {
            Ok(points) if u128::from(points) <= Self::WHOLE => Ok(Self(points)),
            _ => Err(MoneyError::BasisPoints(text.chars().take(80).collect())),
        }
    }
}

/// SGE per one USDC, with at most eighteen decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SgeRate(u128);

impl SgeRate {
    /// What `usdc` is worth in SGE, rounded down; `None` above 2^128 base units.
    pub fn convert(self, usdc: Usdc) -> Option<Sge> {
        let units = U256::from(usdc.0) * U256::from(self.0) / U256::from(10u128.pow(Usdc::DECIMALS));
        u128::try_from(units).ok().map(Sge)
    }
}

impl FromStr for SgeRate {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match parse_fixed(text, Sge::DECIMALS)? {
            0 => Err(MoneyError::NotPositive(text.to_owned())),
            rate => Ok(Self(rate)),
        }
    }
}

/// What a payout consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Commission {
    pub usdc: Usdc,
    pub sge: Sge,
}

impl Commission {
    pub fn is_zero(&self) -> bool {
        self.usdc.is_zero() && self.sge.is_zero()
    }
}

/// The merchant's programme: what share of a payment is due, and how a hybrid referrer is paid.
#[derive(Debug, Clone, Copy)]
pub struct CommissionRules {
    pub commission: BasisPoints,
    pub hybrid_sge: BasisPoints,
    pub sge_per_usdc: SgeRate,
}

impl CommissionRules {
    /// The commission on `amount` for a referrer who is paid in USDC alone.
    pub fn usdc(&self, amount: Usdc) -> Commission {
        Commission { usdc: self.commission.of(amount), sge: Sge::ZERO }
    }

    /// The commission on `amount` for a hybrid referrer: `hybrid_sge` of it is paid in SGE at the fixed rate.
    /// `None` when the SGE part is above 2^128 base units.
    pub fn hybrid(&self, amount: Usdc) -> Option<Commission> {
        let whole = self.commission.of(amount);
        let part = self.hybrid_sge.of(whole);
        Some(Commission { usdc: whole.saturating_sub(part), sge: self.sge_per_usdc.convert(part)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(commission: &str, hybrid: &str, rate: &str) -> CommissionRules {
        CommissionRules {
            commission: commission.parse().unwrap(),
            hybrid_sge: hybrid.parse().unwrap(),
            sge_per_usdc: rate.parse().unwrap(),
        }
    }

    #[test]
    fn a_payment_amount_is_read_exactly() {
        assert_eq!(Usdc::parse_payment("129.90").unwrap().base_units(), 129_900_000);
        assert_eq!(Usdc::parse_payment("0.000001").unwrap().base_units(), 1);
        assert_eq!(Usdc::parse_payment("7").unwrap().base_units(), 7_000_000);
        let most = "79228162514264337593543.950336";
        assert_eq!(Usdc::parse_payment(most).unwrap(), Usdc::MAX_PAYMENT);
    }

    #[test]
    fn what_is_not_a_payable_amount_is_refused_by_its_reason() {
        use MoneyError::*;
        assert!(matches!(Usdc::parse_payment("0"), Err(NotPositive(_))));
        assert!(matches!(Usdc::parse_payment("0.000"), Err(NotPositive(_))));
        assert!(matches!(Usdc::parse_payment("-5"), Err(NotPositive(_))));
        assert!(matches!(Usdc::parse_payment("1.0000001"), Err(TooPrecise { .. })));
        assert!(matches!(Usdc::parse_payment("79228162514264337593543.950337"), Err(TooLarge(_))));
        assert!(matches!(Usdc::parse_payment(&"9".repeat(60)), Err(TooLarge(_))));
        for text in ["", ".", "1.", ".5", "1e3", " 1", "1,5", "+1", "0x10", "--1", "NaN"] {
            assert!(matches!(Usdc::parse_payment(text), Err(Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_commission_is_rounded_down_to_the_base_unit() {
        let rules = rules("1000", "0", "1");
        assert_eq!(rules.usdc(Usdc::from_base_units(129_900_009)).usdc.base_units(), 12_990_000);
        assert!(rules.usdc(Usdc::from_base_units(9)).is_zero());
    }

    #[test]
    fn a_hybrid_commission_splits_without_losing_a_unit_of_usdc() {
        let split = rules("1000", "2500", "12.5").hybrid(Usdc::from_base_units(100_000_030)).unwrap();
        assert_eq!(split.usdc.base_units(), 10_000_003 - 2_500_000);
        assert_eq!(split.sge.base_units(), 2_500_000 * 12_500_000_000_000);
    }

    #[test]
    fn a_decimal_shows_what_the_base_units_say() {
        assert_eq!(Usdc::from_base_units(129_900_000).to_decimal(), "129.9");
        assert_eq!(Usdc::from_base_units(1).to_decimal(), "0.000001");
        assert_eq!(Sge::from_base_units(10u128.pow(18)).to_decimal(), "1");
    }
}

//! What is known from the chain alone. A reorganisation may take it back, and then there is no job to be undone: it was
//! replayed into a Redis that had forgotten it, or other hands did it.

use std::fmt;
use std::ops::RangeInclusive;

use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Args};
use super::{Brief, SLICE, Store, codec};
use crate::ids::{BlockNumber, PaymentId, Wallet};
use crate::job::{Payload, Register};

/// What the chain either shows or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Paid(PaymentId),
    Registered(Register),
}

impl From<&Brief> for Deed {
    fn from(job: &Brief) -> Self {
        match &job.payload {
            Payload::Payout(payout) => Self::Paid(payout.payment_id),
            Payload::Register(register) => Self::Registered(register.clone()),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paid(payment) => write!(f, "the payout of payment {payment}"),
            Self::Registered(register) => write!(f, "the registration of {}", register.child),
        }
    }
}

impl Deed {
    /// Its member of `learned`: its record's key.
    fn member(&self) -> String {
        match self {
            Self::Paid(payment) => format!("payment:{payment}"),
            Self::Registered(register) => format!("referral:{}", register.child.key()),
        }
    }
}

/// What became of records that the chain does not show any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlearned {
    pub taken: u64,
    /// Members of `learned` whose records cannot be read: they stay as they are.
    pub unreadable: Vec<String>,
}

impl Store {
    /// What is known from these blocks alone. Records that cannot be read are left out, and logged.
    pub async fn learned(&self, blocks: RangeInclusive<BlockNumber>) -> Result<Vec<Deed>, StoreError> {
        let key = self.keys.learned();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(blocks.start().get()).arg(blocks.end().get());
        let members: Vec<String> = self.read_often("what the chain alone says", &command).await?;
        let mut learned = Vec::with_capacity(members.len());
        for member in members {
            match self.deed(&key, &member).await {
                Ok(deed) => learned.extend(deed),
                Err(error) if error.is_of_one_record() => {
                    tracing::error!(member, %error, "a record that the chain alone vouches for cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(learned)
    }

    /// The deed that a member of `learned` names, unless its record is gone.
    async fn deed(&self, key: &str, member: &str) -> Result<Option<Deed>, StoreError> {
        if let Some(payment) = member.strip_prefix("payment:") {
            return Ok(Some(Deed::Paid(codec::parse(key, "payment", payment, "a payment id")?)));
        }
        let child = member.strip_prefix("referral:").unwrap_or(member);
        let child: Wallet = codec::parse(key, "referral", child, "a wallet")?;
        let referrer = self.referral(child).await?.and_then(|known| known.referrer);
        Ok(referrer.map(|referrer| Deed::Registered(Register { child, referrer })))
    }

    /// Takes back what is not so at block `gone`, and makes the jobs that bring it about again. `None` when fenced.
    pub async fn unlearn(
        &self,
        fence: &Fence,
        who: &str,
        gone: BlockNumber,
        deeds: &[Deed],
    ) -> Result<Option<Unlearned>, StoreError> {
        let mut all = Unlearned::default();
        for slice in deeds.chunks(SLICE) {
            let mut args = Args::new().arg(fence).arg(who).arg(gone);
            for deed in slice {
                args = args.arg(deed.member()).arg(self.new_id());
            }
            let reply: Vec<String> = self.run_durably(&script::UNLEARN, args).await?;
            let [code, taken, unreadable @ ..] = &reply[..] else {
                return Err(StoreError::UnknownReply { script: "unlearn", value: format!("{reply:?}") });
            };
            if code != "0" {
                return Ok(None);
            }
            all.taken += codec::parse::<u64>("unlearn", "taken", taken, "a number")?;
            all.unreadable.extend_from_slice(unreadable);
        }
        Ok(Some(all))
    }
}

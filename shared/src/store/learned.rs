//! What is known from the chain alone. A reorganisation may take it back, and then there is no job to be undone: it was
//! replayed into a Redis that had forgotten it, or its job ended long ago and was removed.

use std::ops::RangeInclusive;

use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Args};
use super::{SLICE, Store, codec};
use crate::ids::{BlockNumber, PaymentId, Wallet};
use crate::job::Register;

/// A record that no job of ours carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    Paid(PaymentId),
    Registered(Register),
}

impl Learned {
    /// Its member of `learned`: its record's key.
    fn member(&self) -> String {
        match self {
            Self::Paid(payment) => format!("payment:{payment}"),
            Self::Registered(register) => format!("referral:{}", register.child.key()),
        }
    }
}

impl Store {
    /// What is known from these blocks alone.
    pub async fn learned(&self, blocks: RangeInclusive<BlockNumber>) -> Result<Vec<Learned>, StoreError> {
        let key = self.keys.learned();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(blocks.start().get()).arg(blocks.end().get());
        let members: Vec<String> = self.read_often("what the chain alone says", &command).await?;
        let mut learned = Vec::with_capacity(members.len());
        for member in members {
            if let Some(payment) = member.strip_prefix("payment:") {
                learned.push(Learned::Paid(codec::parse(&key, "payment", payment, "a payment id")?));
            } else {
                let child = member.strip_prefix("referral:").unwrap_or(&member);
                let child: Wallet = codec::parse(&key, "referral", child, "a wallet")?;
                if let Some(referrer) = self.referral(child).await?.and_then(|known| known.referrer) {
                    learned.push(Learned::Registered(Register { child, referrer }));
                }
            }
        }
        Ok(learned)
    }

    /// Takes back what is not so at block `gone`, and makes the jobs that bring it about again. Returns how many were taken
    /// back; `None` when fenced.
    pub async fn unlearn(
        &self,
        fence: &Fence,
        who: &str,
        gone: BlockNumber,
        learned: &[Learned],
    ) -> Result<Option<u64>, StoreError> {
        let mut taken = 0;
        for slice in learned.chunks(SLICE) {
            let mut args = Args::new().arg(fence).arg(who).arg(gone);
            for one in slice {
                args = args.arg(one.member()).arg(self.new_id());
            }
            match u64::try_from(self.run_durably::<i64>(&script::UNLEARN, args).await?) {
                Ok(of_slice) => taken += of_slice,
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(taken))
    }
}

//! What nodes show of our own transactions. Asked for many nonces at once: one after the other, a block full of ours would
//! take longer than the next one.

use futures::StreamExt as _;
use shared::ids::Nonce;

use super::leader::Leader;
use crate::chain::{ChainError, ReceiptView};

/// Questions to a node at once.
pub(super) const AT_ONCE: usize = 16;

/// The receipt of one of our attempts, and whether that was a cancel.
pub(super) type Carrier = Option<(ReceiptView, bool)>;

impl Leader {
    /// The receipt of one of our attempts at each of these nonces, where a node has one.
    pub(super) async fn receipts(&self, nonces: &[Nonce]) -> Vec<Result<Carrier, ChainError>> {
        let questions: Vec<_> = nonces.iter().map(|nonce| self.receipt(*nonce)).collect();
        futures::stream::iter(questions).buffered(AT_ONCE).collect().await
    }

    async fn receipt(&self, nonce: Nonce) -> Result<Carrier, ChainError> {
        let Some(tx) = self.open.get(&nonce) else { return Ok(None) };
        for attempt in tx.record.attempts.iter().rev() {
            if let Some(receipt) = self.ctx.chain.receipt(attempt.hash).await? {
                return Ok(Some((receipt, attempt.cancel)));
            }
        }
        Ok(None)
    }
}

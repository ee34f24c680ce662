//! The transaction machine, pure: what may happen to a nonce. The journal scripts enforce the same edges.

use thiserror::Error;

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$vdoc])* $variant,)* }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.name() == name)
            }
        }
    };
}

names! {
    /// Where a nonce stands.
    TxState {
        /// Journaled; may be mined at any time.
        Open = "open",
        /// Journaled, and an attempt that cancels it is journaled too: only that one is bumped from now on.
        Cancelling = "cancelling",
        /// Consumed at the configured depth.
        Closed = "closed",
    }
}

names! {
    /// What may happen to a nonce.
    TxEvent {
        Bump = "bump",
        Cancel = "cancel",
        Close = "close",
        /// The block that consumed it is no more, deeper than the configured depth.
        Reopen = "reopen",
        /// The same where an attempt that cancels it is journaled.
        ReopenCancelled = "reopen_cancelled",
    }
}

/// Every edge of the machine: from, event, to.
pub const EDGES: &[(&str, &str, &str)] = &[
    ("open", "bump", "open"),
    ("open", "cancel", "cancelling"),
    ("cancelling", "cancel", "cancelling"),
    ("open", "close", "closed"),
    ("cancelling", "close", "closed"),
    ("closed", "reopen", "open"),
    ("closed", "reopen_cancelled", "cancelling"),
];

/// The event does not apply where the transaction is.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("`{event}` does not apply to a transaction that is {state}")]
pub struct IllegalTransition {
    pub state: &'static str,
    pub event: &'static str,
}

/// Where `event` takes a transaction from `state`.
pub fn apply(state: TxState, event: TxEvent) -> Result<TxState, IllegalTransition> {
    EDGES
        .iter()
        .find(|(from, name, _)| *from == state.name() && *name == event.name())
        .and_then(|(_, _, to)| TxState::from_name(to))
        .ok_or(IllegalTransition { state: state.name(), event: event.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_irrevocable() {
        assert!(apply(TxState::Cancelling, TxEvent::Bump).is_err());
        assert_eq!(apply(TxState::Cancelling, TxEvent::Cancel), Ok(TxState::Cancelling));
    }

    #[test]
    fn only_a_chain_that_takes_back_its_word_leaves_closed() {
        for event in [TxEvent::Bump, TxEvent::Cancel, TxEvent::Close] {
            assert!(apply(TxState::Closed, event).is_err());
        }
    }
}

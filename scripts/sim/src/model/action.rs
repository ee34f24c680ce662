//! What may happen next.

use std::fmt;

use super::seats::name;
use super::step::Activity;

/// One transition of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A process begins something and comes to its first effect.
    Begin(usize, Activity),
    /// The pending effect happens, and its answer arrives.
    Step(usize),
    /// As [`Action::Step`], and what is read next is seen through a faulty endpoint.
    StepSeeing(usize, Glance),
    /// The pending effect happens; its answer is under way.
    Perform(usize),
    /// That answer arrives.
    Deliver(usize),
    /// The pending effect happens, and its answer is lost.
    LoseReply(usize),
    /// The pending effect never happens, and nobody says so.
    Undelivered(usize),
    /// The process dies and is started again.
    Crash(usize),
    /// The lease is renewed beside whatever its holder is about.
    Renew(usize),
    /// Time passes for everybody.
    Tick,
    /// Time passes for everybody but one process, which is suspended.
    TickWithout(usize),
    Mine(Fill),
    /// Sixteen empty blocks.
    Calm,
    /// The pool forgets its lowest transaction; others may still hold it.
    Drop,
    /// The newest block is undone, its transactions are back in the pool or, `hidden`, with others only.
    Reorg {
        hidden: bool,
    },
    /// The moment to which Redis will be rolled back.
    Save,
    /// Redis is another process, which knows what was known at that moment.
    Rollback,
    /// The merchant or the operator does something.
    Deed(Deed),
}

/// Of what blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fill {
    Nothing,
    /// Of all that the pool can give.
    Pool,
    /// Of the first transaction that is fit and not in the pool any more: replaced, dropped or reorganised away.
    Other,
}

/// What is wrong with the endpoints while something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Glance {
    /// Nothing.
    Clear,
    /// Both are one block behind.
    Behind,
    /// One of two is one block behind.
    OneBehind,
    /// One of two has neither receipts nor logs, and an empty pool.
    OneForgetful,
    /// One of two follows the branch that was abandoned.
    OneAbandoned,
    /// One of two denies every payment, and counts one nonce too few.
    OneDenies,
    /// One of two invents payments, and counts one nonce too many.
    OneInvents,
    /// Neither answers.
    Silent,
    /// Both refuse every broadcast.
    Refusing,
}

/// What the merchant or the operator does; the number is the payment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Deed {
    /// Creates the consumer group.
    Migrate,
    /// Registers the child of all payments.
    Register,
    /// Reports the payment for the first time.
    Pay(usize),
    /// Reports it again, as another delivery.
    PayAgain(usize),
    /// Reports that all of it was given back.
    Refund(usize),
    Cancel(usize),
    Retry(usize),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Begin(who, activity) => write!(f, "{} begins: {activity:?}", name(who)),
            Self::Step(who) => write!(f, "{} goes on", name(who)),
            Self::StepSeeing(who, glance) => write!(f, "{} goes on, its endpoints: {glance:?}", name(who)),
            Self::Perform(who) => write!(f, "{} goes on, the answer is late", name(who)),
            Self::Deliver(who) => write!(f, "{}: the late answer arrives", name(who)),
            Self::LoseReply(who) => write!(f, "{} goes on, the answer is lost", name(who)),
            Self::Undelivered(who) => write!(f, "{}: the command is lost", name(who)),
            Self::Crash(who) => write!(f, "{} dies", name(who)),
            Self::Renew(who) => write!(f, "{} renews its lease", name(who)),
            Self::Tick => f.write_str("time passes"),
            Self::TickWithout(who) => write!(f, "time passes while {} is suspended", name(who)),
            Self::Mine(fill) => write!(f, "a block: {fill:?}"),
            Self::Calm => f.write_str("sixteen empty blocks"),
            Self::Drop => f.write_str("the pool forgets a transaction"),
            Self::Reorg { hidden } => write!(f, "the newest block is undone (hidden: {hidden})"),
            Self::Save => f.write_str("Redis is saved"),
            Self::Rollback => f.write_str("Redis is rolled back"),
            Self::Deed(deed) => write!(f, "from outside: {deed:?}"),
        }
    }
}

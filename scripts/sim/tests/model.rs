//! The model checker over the production code: no order of faults breaks a promise, and a product that is broken on purpose is
//! found out. These are the spaces that are walked to their end within the suite's time; `sim model` knows more.

use std::collections::BTreeSet;

use sim::model::{Options, Sight, check_all, check_mutant, mutants};

/// Different states that the suite looks at, at least.
const STATES: usize = 100_000;
const SPACES: [&str; 3] = ["zombie", "merchant", "timeout"];
/// Found within seconds. The others take longer, or are not found yet: `sim model --mutants` tells.
const SOON: [&str; 9] = [
    "no fence",
    "no fence for jobs",
    "send before persist",
    "confirmation by null receipt",
    "nonce reused after a timeout",
    "no dedupe",
    "journal signs what was cancelled",
    "cancel of what is journaled",
    "refund cancels what is journaled",
];

fn options(only: Option<&str>) -> Options {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Options { threads, only: only.map(str::to_owned), ..Options::default() }
}

#[test]
fn no_order_of_faults_breaks_a_promise() {
    let (mut states, mut seen) = (0, BTreeSet::new());
    for space in SPACES {
        for checked in check_all(&options(Some(space)), |checked| println!("{checked}")) {
            assert!(checked.findings.is_empty(), "{checked}");
            states += checked.unique;
            seen.extend(checked.seen.iter().map(|sight| sight.text()));
        }
    }
    assert!(states >= STATES, "{states} states in all");
    // Otherwise nothing was put to the test.
    let wanted = [Sight::Done, Sight::Fenced, Sight::Refused];
    let missing: Vec<&str> =
        wanted.iter().map(|sight| sight.text()).filter(|text| !seen.contains(text)).collect();
    assert!(missing.is_empty(), "it never happened that {missing:?}; what did: {seen:?}");
}

#[test]
fn a_product_that_is_broken_on_purpose_is_found_out() {
    let all = mutants();
    for name in SOON {
        let mutant = all.iter().find(|mutant| mutant.name == name).expect("a mutant of this name");
        let checked = check_mutant(mutant, &options(None));
        println!("{name}: {checked}");
        assert!(mutant.is_found_by(&checked), "nobody noticed: {name}");
    }
}

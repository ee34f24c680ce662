//! The model checker over the production code: no order of faults breaks a promise, and a product that is broken on purpose is
//! found out. These are the spaces that are walked to their end within the suite's time; `sim model --large` knows more.

use sim::model::{Options, Summary, check_all, check_mutant, mutants};

/// Different states that the suite looks at, at least.
const STATES: usize = 1_000_000;
/// Without these the check would be worth little, whatever else it finds.
const NAMED: [&str; 6] = [
    "no fence",
    "send before persist",
    "no dedupe on the chain, and a rollback",
    "confirmation by null receipt",
    "nonce reused after a timeout",
    "lease trusted from after the call",
];
/// Mutants, at least.
const MUTANTS: usize = 12;

fn options() -> Options {
    Options { threads: std::thread::available_parallelism().map_or(1, usize::from), ..Options::default() }
}

#[test]
fn no_order_of_faults_breaks_a_promise() {
    let all = check_all(&options(), |checked| println!("{checked}\n    seen: {:?}", checked.seen));
    for checked in &all {
        assert!(checked.findings.is_empty(), "{checked}");
        assert!(checked.is_whole, "some states were not looked at: {checked}");
    }
    let summary = Summary::of(&all);
    println!("{summary}");
    assert!(summary.unique >= STATES, "{summary}");
    // What never happens is not put to the test.
    assert!(summary.unseen.is_empty(), "{summary}");
}

#[test]
fn a_product_that_is_broken_on_purpose_is_found_out() {
    let all = mutants();
    assert!(all.len() >= MUTANTS, "only {} mutants", all.len());
    for name in NAMED {
        assert!(all.iter().any(|mutant| mutant.name == name), "there is no mutant {name}");
    }
    let mut survivors = Vec::new();
    for mutant in &all {
        let checked = check_mutant(mutant, &options());
        println!("{}: {checked}", mutant.name);
        if !mutant.is_found_by(&checked) {
            survivors.push(mutant.name);
        }
    }
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}

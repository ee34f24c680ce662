//! The model checker over the production code: no order of faults breaks a promise, and a product that is broken on purpose is
//! found out.

use std::collections::BTreeSet;

use sim::model::{Options, Sight, check_all, check_mutant, mutants};

/// Different states that the suite looks at, at least.
const STATES: usize = 1_000_000;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn no_order_of_faults_breaks_a_promise() {
    let options = Options { threads: threads(), ..Options::default() };
    let all = check_all(&options, |checked| println!("{checked}"));
    for checked in &all {
        assert!(checked.findings.is_empty(), "{checked}");
    }
    let states: usize = all.iter().map(|checked| checked.unique).sum();
    assert!(states >= STATES, "{states} states in all");
    let seen: BTreeSet<&str> = all.iter().flat_map(|checked| &checked.seen).map(|sight| sight.text()).collect();
    let missing: Vec<&str> =
        Sight::ALL.iter().map(|sight| sight.text()).filter(|text| !seen.contains(text)).collect();
    assert!(missing.is_empty(), "it never happened that {missing:?}");
}

#[test]
fn every_defect_made_on_purpose_is_found() {
    let options = Options { threads: threads(), ..Options::default() };
    let all = mutants();
    assert!(all.len() >= 12);
    let survivors: Vec<_> = all
        .iter()
        .filter(|mutant| {
            let checked = check_mutant(mutant, &options);
            println!("{}: {checked}", mutant.name);
            !mutant.is_found_by(&checked)
        })
        .map(|mutant| mutant.name)
        .collect();
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}

//! Which items may share one simulated call. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use alloy::primitives::{B256, keccak256};
use shared::job::Register;

/// What two registrations must not share inside one call: the child, and the pair in either order.
pub fn registration_keys(item: &Register) -> Vec<B256> {
    let (child, referrer) = (item.child.address(), item.referrer.address());
    let pair = if child < referrer { (child, referrer) } else { (referrer, child) };
    let mut both = [0u8; 40];
    both[..20].copy_from_slice(pair.0.as_slice());
    both[20..].copy_from_slice(pair.1.as_slice());
    vec![child.into_word(), keccak256(both)]
}

/// Splits items into waves, in order, so that no two items of a wave share a key.
pub fn waves<K: Hash + Eq>(keys: impl Iterator<Item = Vec<K>>) -> Vec<Vec<usize>> {
    let mut next_free: HashMap<K, usize> = HashMap::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, keys) in keys.enumerate() {
        let wave = keys.iter().filter_map(|key| next_free.get(key)).copied().max().unwrap_or(0);
        next_free.extend(keys.into_iter().map(|key| (key, wave + 1)));
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(index);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;
    use shared::ids::Wallet;

    fn wallet(last: u8) -> Wallet {
        Wallet::try_from(Address::with_last_byte(last)).unwrap()
    }

    #[test]
    fn items_that_share_a_key_never_share_a_call() {
        assert_eq!(
            waves([1, 2, 1, 3, 1].into_iter().map(|key| vec![key])),
            [vec![0, 1, 3], vec![2], vec![4]]
        );
        assert!(waves(std::iter::empty::<Vec<u8>>()).is_empty());
    }

    #[test]
    fn registrations_of_one_child_and_mirrored_pairs_are_asked_separately() {
        let of = |child, referrer| Register { child: wallet(child), referrer: wallet(referrer) };
        let items = [of(1, 2), of(1, 3), of(2, 1), of(4, 2), of(5, 5)];
        assert_eq!(waves(items.iter().map(registration_keys)), [vec![0, 3, 4], vec![1, 2]]);
    }
}

//! The keys and their values, shared between snapshots until they change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHasher;

use super::hash::Fields;
use super::list::List;
use super::reply::Failure;
use super::set::Set;
use super::stream::Stream;
use super::zset::SortedSet;

pub(super) type Bytes = Arc<[u8]>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    String(Bytes),
    Hash(Shared<Fields>),
    List(Shared<List>),
    Set(Shared<Set>),
    SortedSet(Shared<SortedSet>),
    Stream(Shared<Stream>),
}

impl Value {
    /// As `TYPE` calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::SortedSet(_) => "zset",
            Self::Stream(_) => "stream",
        }
    }
}

/// A value that snapshots share, with its hash once somebody asked for it: a model checker hashes every state, and a step
/// changes few keys.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Hashed<T>>);

#[derive(Debug, Default)]
struct Hashed<T> {
    value: T,
    /// 0 while unknown.
    hash: AtomicU64,
}

impl<T: Clone> Clone for Hashed<T> {
    /// Only to be changed, so the hash does not come along.
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), hash: AtomicU64::new(0) }
    }
}

impl<T: Hash> Hashed<T> {
    fn hash(&self) -> u64 {
        let known = self.hash.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let hash = hash_of(&self.value).max(1);
        self.hash.store(hash, Ordering::Relaxed);
        hash
    }
}

/// The same in every process.
pub(super) fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> Shared<T> {
    fn change(&mut self) -> &mut T {
        let hashed = Arc::make_mut(&mut self.0);
        *hashed.hash.get_mut() = 0;
        &mut hashed.value
    }
}

impl<T: Hash + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash() == other.0.hash() && self.0.value == other.0.value)
    }
}

impl<T: Hash + Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash());
    }
}

/// One of the types a value may have.
pub(super) trait Kind: Clone + Default {
    fn wrap(value: Shared<Self>) -> Value;
    fn of(value: &Value) -> Option<&Shared<Self>>;
    fn of_mut(value: &mut Value) -> Option<&mut Shared<Self>>;
    /// Whether Redis takes the key away: of a stream, never.
    fn is_void(&self) -> bool;
}

macro_rules! kind {
    ($type:ty, $variant:ident, $is_void:expr) => {
        impl Kind for $type {
            fn wrap(value: Shared<Self>) -> Value {
                Value::$variant(value)
            }
            fn of(value: &Value) -> Option<&Shared<Self>> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Shared<Self>> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn is_void(&self) -> bool {
                let is_void: fn(&Self) -> bool = $is_void;
                is_void(self)
            }
        }
    };
}

kind!(Fields, Hash, |fields| fields.len() == 0);
kind!(List, List, |list| list.items.is_empty());
kind!(Set, Set, |set| set.members.is_empty());
kind!(SortedSet, SortedSet, |set| set.len() == 0);
kind!(Stream, Stream, |_| false);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    key: Bytes,
    pub(super) value: Value,
    /// The last millisecond in which the key exists.
    pub(super) expires_at: Option<u64>,
}

impl Slot {
    /// # Panics
    /// Where another key has the same number, which in all of any simulation will not happen.
    fn expect_key(&self, key: &[u8]) {
        assert!(*self.key == *key, "two keys have one number: {:?} and {key:?}", self.key);
    }
}

/// The same in every process.
fn number(key: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    hasher.finish()
}

#[derive(Debug, Clone, Default)]
pub(super) struct Keyspace {
    /// By the key's number: keys have long beginnings in common, and are looked up more often than anything else happens.
    slots: Arc<BTreeMap<u64, Slot>>,
    /// No key expires before. Not part of the state: keys know their own times.
    next_expiry: Option<u64>,
}

impl PartialEq for Keyspace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots) || self.slots == other.slots
    }
}

impl Eq for Keyspace {}

impl Hash for Keyspace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.slots.hash(state);
    }
}

impl Keyspace {
    /// Takes away what has expired by `now`.
    pub(super) fn expire(&mut self, now: u64) {
        if self.next_expiry.is_none_or(|first| now <= first) {
            return;
        }
        Arc::make_mut(&mut self.slots).retain(|_, slot| slot.expires_at.is_none_or(|at| now <= at));
        self.next_expiry = self.slots.values().filter_map(|slot| slot.expires_at).min();
    }

    pub(super) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(&number(key)).inspect(|slot| slot.expect_key(key))
    }

    /// Sorted.
    pub(super) fn keys(&self) -> Vec<&Bytes> {
        let mut keys: Vec<&Bytes> = self.slots.values().map(|slot| &slot.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Puts a value in place of whatever the key held.
    pub(super) fn put(&mut self, key: &[u8], value: Value, expires_at: Option<u64>) {
        match Arc::make_mut(&mut self.slots).entry(number(key)) {
            Entry::Occupied(mut slot) => {
                slot.get().expect_key(key);
                (slot.get_mut().value, slot.get_mut().expires_at) = (value, expires_at);
            }
            Entry::Vacant(place) => _ = place.insert(Slot { key: key.into(), value, expires_at }),
        }
        self.note_expiry(expires_at);
    }

    pub(super) fn set_expiry(&mut self, key: &[u8], expires_at: u64) -> bool {
        let Some(slot) = Arc::make_mut(&mut self.slots).get_mut(&number(key)) else { return false };
        slot.expect_key(key);
        slot.expires_at = Some(expires_at);
        self.note_expiry(Some(expires_at));
        true
    }

    fn note_expiry(&mut self, expires_at: Option<u64>) {
        self.next_expiry = self.next_expiry.into_iter().chain(expires_at).min();
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.slot(key).is_some() && Arc::make_mut(&mut self.slots).remove(&number(key)).is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn string(&self, key: &[u8]) -> Result<Option<&Bytes>, Failure> {
        match self.slot(key).map(|slot| &slot.value) {
            None => Ok(None),
            Some(Value::String(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(Failure::wrong_type()),
        }
    }

    pub(super) fn read<T: Kind>(&self, key: &[u8]) -> Result<Option<&T>, Failure> {
        match self.slot(key) {
            None => Ok(None),
            Some(slot) => T::of(&slot.value).map(|shared| Some(&**shared)).ok_or_else(Failure::wrong_type),
        }
    }

    /// Changes the value under `key`, an empty one where there was none; takes the key away when nothing is left in it.
    pub(super) fn change<T: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Failure> {
        let number = number(key);
        let slots = Arc::make_mut(&mut self.slots);
        let slot = slots.entry(number).or_insert_with(|| Slot {
            key: key.into(),
            value: T::wrap(Shared::default()),
            expires_at: None,
        });
        slot.expect_key(key);
        let value = T::of_mut(&mut slot.value).ok_or_else(Failure::wrong_type)?.change();
        let out = change(value);
        if value.is_void() {
            slots.remove(&number);
        }
        Ok(out)
    }
}

//! stub until the table helper's lands: a BTreeMap
use crate::base::env::{Rng, UnixMillis};
use crate::data::string::HeapString;
use crate::data::value::{NewValue, Object, ValueRef};
use std::cell::Cell;
use std::collections::BTreeMap;
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub u64);
#[derive(Debug)]
pub enum Held {
    Int(i64),
    Str(Vec<u8>, bool),
    Heap(HeapString),
    Object(Box<Object>),
}
impl Held {
    pub fn into_new(self) -> NewValue<'static> {
        match self {
            Held::Int(i) => NewValue::Int(i),
            Held::Str(s, _) => NewValue::Heap(HeapString::new(&s)),
            Held::Heap(h) => NewValue::Heap(h),
            Held::Object(o) => NewValue::Object(o),
        }
    }
    fn r(&self) -> ValueRef<'_> {
        match self {
            Held::Int(i) => ValueRef::Int(*i),
            Held::Str(s, _) => ValueRef::Str(s),
            Held::Heap(h) => ValueRef::Str(h),
            Held::Object(o) => ValueRef::Object(o),
        }
    }
}
#[derive(Debug)]
pub struct Slot {
    v: Held,
    e: Option<UnixMillis>,
    a: Cell<u32>,
}
#[derive(Debug)]
pub struct Table {
    m: BTreeMap<Vec<u8>, Slot>,
    seed: HashSeed,
}
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    k: &'a [u8],
    s: &'a Slot,
}
pub struct EntryMut<'a> {
    s: &'a mut Slot,
}
impl EntryMut<'_> {
    pub fn heap_string_mut(&mut self) -> Option<&mut HeapString> {
        match &mut self.s.v {
            Held::Heap(h) => Some(h),
            _ => None,
        }
    }
}
impl<'a> Entry<'a> {
    pub fn key(&self) -> &'a [u8] {
        self.k
    }
    pub fn value(&self) -> ValueRef<'a> {
        self.s.v.r()
    }
    pub fn into_value(self) -> ValueRef<'a> {
        self.s.v.r()
    }
    pub fn expiry(&self) -> Option<UnixMillis> {
        self.s.e
    }
    pub fn access(&self) -> u32 {
        self.s.a.get()
    }
    pub fn set_access(&self, a: u32) {
        self.s.a.set(a)
    }
    pub fn is_raw(&self) -> bool {
        matches!(self.s.v, Held::Heap(_) | Held::Str(_, true))
    }
    pub fn is_heap_string(&self) -> bool {
        matches!(self.s.v, Held::Heap(_))
    }
    pub fn heap_bytes(&self) -> usize {
        0
    }
}
#[derive(Debug)]
pub struct Removed {
    v: Held,
    e: Option<UnixMillis>,
    a: u32,
}
impl Removed {
    pub fn heap_bytes(&self) -> usize {
        0
    }
    pub fn into_parts(self) -> (Held, Option<UnixMillis>, u32) {
        (self.v, self.e, self.a)
    }
}
pub trait EntrySink {
    fn entry(&mut self, entry: &Entry<'_>);
}
impl Table {
    pub fn new(seed: HashSeed) -> Self {
        Table { m: BTreeMap::new(), seed }
    }
    pub fn len(&self) -> usize {
        self.m.len()
    }
    pub fn is_empty(&self) -> bool {
        self.m.is_empty()
    }
    pub fn hash(&self, k: &[u8]) -> u64 {
        crc32fast::hash(k) as u64 ^ self.seed.0
    }
    pub fn prefetch(&self, _: &[u64]) {}
    pub fn get(&self, k: &[u8]) -> Option<Entry<'_>> {
        self.m.get_key_value(k).map(|(k, s)| Entry { k, s })
    }
    pub fn get_mut(&mut self, k: &[u8]) -> Option<EntryMut<'_>> {
        self.m.get_mut(k).map(|s| EntryMut { s })
    }
    pub fn expires_len(&self) -> usize {
        self.m.values().filter(|s| s.e.is_some()).count()
    }
    pub fn put(
        &mut self,
        k: &[u8],
        v: NewValue<'_>,
        e: Option<UnixMillis>,
        a: u32,
    ) -> Option<Removed> {
        let v = match v {
            NewValue::Int(i) => Held::Int(i),
            NewValue::Str(s) => {
                if s.len() > 192 {
                    Held::Heap(HeapString::new(s))
                } else {
                    Held::Str(s.to_vec(), false)
                }
            }
            NewValue::Raw(s) => {
                if s.len() > 192 {
                    Held::Heap(HeapString::new(s))
                } else {
                    Held::Str(s.to_vec(), true)
                }
            }
            NewValue::Heap(h) => Held::Heap(h),
            NewValue::Object(o) => Held::Object(o),
        };
        self.m.insert(k.to_vec(), Slot { v, e, a: Cell::new(a) }).map(|s| Removed {
            v: s.v,
            e: s.e,
            a: s.a.get(),
        })
    }
    pub fn remove(&mut self, k: &[u8]) -> Option<Removed> {
        self.m.remove(k).map(|s| Removed { v: s.v, e: s.e, a: s.a.get() })
    }
    pub fn set_expiry(&mut self, k: &[u8], e: Option<UnixMillis>) -> bool {
        match self.m.get_mut(k) {
            Some(s) => {
                s.e = e;
                true
            }
            None => false,
        }
    }
    pub fn scan(&self, c: u64, n: usize, mut f: impl FnMut(Entry<'_>)) -> u64 {
        let mut i = 0;
        for (k, s) in self.m.iter().skip(c as usize) {
            if i == n {
                return c + n as u64;
            }
            f(Entry { k, s });
            i += 1;
        }
        0
    }
    pub fn for_each(&self, mut f: impl FnMut(Entry<'_>)) {
        for (k, s) in &self.m {
            f(Entry { k, s })
        }
    }
    pub fn sample(&self, r: &mut Rng) -> Option<Entry<'_>> {
        if self.m.is_empty() {
            return None;
        }
        self.m.iter().nth(r.below(self.m.len() as u64) as usize).map(|(k, s)| Entry { k, s })
    }
    pub fn expire_step(
        &mut self,
        now: UnixMillis,
        _s: usize,
        _k: usize,
        f: &mut impl FnMut(&[u8]),
    ) {
        for (k, s) in &self.m {
            if s.e.is_some_and(|e| e <= now) {
                f(k)
            }
        }
    }
    pub fn begin_snapshot(&mut self, mut s: Box<dyn EntrySink>) {
        for (k, x) in &self.m {
            s.entry(&Entry { k, s: x })
        }
    }
    pub fn snapshot_slice(&mut self, _: usize) -> bool {
        true
    }
    pub fn abort_snapshot(&mut self) {}
}

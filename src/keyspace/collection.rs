//! The door to collections: reading one as what it is, and changing one in place.

use std::marker::PhantomData;
use std::ops::Deref;

use crate::base::env::UnixMillis;
use crate::data::hash::Hash;
use crate::data::index::Room;
use crate::data::list::List;
use crate::data::set::Set;
use crate::data::stream::Stream;
use crate::data::value::{NewValue, Object, ObjectRef, Type, ValueRef};
use crate::data::zset::Zset;
use crate::keyspace::databases::{Db, EditError, Expiry, WrongType};
use crate::keyspace::table::Entry;
use crate::keyspace::unit::Event;

/// A type of collection.
pub(crate) trait Collection: Default {
    /// The type.
    const KIND: Type;
    /// Whether a key may hold one without an element: streams, which have more than elements.
    const KEEPS_EMPTY: bool = false;
    /// The collection in an object, if it's of this type.
    fn of(object: &Object) -> Option<&Self>;
    /// As [`Collection::of`], to be changed.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// The collection as an object.
    fn into_object(self) -> Object;
    /// Whether it has no element.
    fn is_empty(&self) -> bool;
    /// Whether a key that holds it goes.
    #[inline]
    fn is_gone(&self) -> bool {
        !Self::KEEPS_EMPTY && self.is_empty()
    }
    /// Whether nothing more may be added. Lists have no limit.
    #[inline]
    fn is_full(&self, _room: Room) -> bool {
        false
    }
    /// When the first of its elements expires: hashes have such.
    #[inline]
    fn next_expiry(&self) -> Option<UnixMillis> {
        None
    }
}

macro_rules! collections {
    ($($kind:ident $({ $($more:item)* })?),*) => {
        $(impl Collection for $kind {
            const KIND: Type = Type::$kind;

            #[inline]
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$kind(collection) => Some(collection),
                    _ => None,
                }
            }

            #[inline]
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$kind(collection) => Some(collection),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$kind(self)
            }

            #[inline]
            fn is_empty(&self) -> bool {
                $kind::is_empty(self)
            }

            $($($more)*)?
        })*
    };
}

collections!(List, Hash {
    #[inline]
    fn is_full(&self, room: Room) -> bool {
        Hash::is_full(self, room)
    }

    #[inline]
    fn next_expiry(&self) -> Option<UnixMillis> {
        Hash::next_expiry(self)
    }
}, Set {
    #[inline]
    fn is_full(&self, room: Room) -> bool {
        Set::is_full(self, room)
    }
}, Zset {
    #[inline]
    fn is_full(&self, room: Room) -> bool {
        Zset::is_full(self, room)
    }
}, Stream {
    const KEEPS_EMPTY: bool = true;
});

/// A stored collection, borrowed.
#[derive(Clone, Debug)]
pub(crate) struct Lent<'a, T> {
    /// Invariant: an object of type `T`.
    object: ObjectRef<'a>,
    kind: PhantomData<T>,
}

impl<T: Collection> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match T::of(&self.object) {
            Some(collection) => collection,
            None => unreachable!("its type was looked at when it was lent"),
        }
    }
}

/// What a closure did to a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed<R> {
    /// How many changes, as `rdb_changes_since_last_save` counts them; 0 where nothing happened.
    pub count: u64,
    /// What the closure found out.
    pub result: R,
}

impl<R> Changed<R> {
    /// So many changes.
    #[inline]
    pub(crate) fn count(count: usize, result: R) -> Self {
        Self { count: count as u64, result }
    }

    /// Nothing happened.
    #[inline]
    pub(crate) fn nothing(result: R) -> Self {
        Self { count: 0, result }
    }
}

#[inline]
fn lent<T: Collection>(entry: Option<Entry<'_>>) -> Result<Option<Lent<'_, T>>, WrongType> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Object(object)) if object.kind() == T::KIND => {
            Ok(Some(Lent { object, kind: PhantomData }))
        }
        Some(_) => Err(WrongType),
    }
}

impl Db<'_> {
    /// The collection at a key, for a command that reads: counts as hit or miss and as an access.
    ///
    /// # Errors
    /// [`WrongType`] where the key holds something else.
    #[inline]
    pub(crate) fn read_as<T: Collection>(
        &mut self,
        key: &[u8],
    ) -> Result<Option<Lent<'_, T>>, WrongType> {
        if T::KIND == Type::Hash && self.hides_fields(key) {
            if self.read(key).is_none() {
                return Ok(None);
            }
            let object = ObjectRef::from(self.without_due_fields(key));
            return Ok(Some(Lent { object, kind: PhantomData }));
        }
        lent(self.read(key))
    }

    /// The collection at a key, for a command that will change it: counts as an access only.
    ///
    /// # Errors
    /// [`WrongType`] where the key holds something else.
    #[inline]
    pub(crate) fn touch_as<T: Collection>(
        &mut self,
        key: &[u8],
    ) -> Result<Option<Lent<'_, T>>, WrongType> {
        lent(self.touch(key))
    }

    /// Whether the collection at a key may grow.
    ///
    /// # Errors
    /// [`EditError`]: it is another type, or as large as it may get.
    pub(crate) fn check_room<T: Collection>(&mut self, key: &[u8]) -> Result<(), EditError> {
        let room = self.all.room;
        match self.touch_as::<T>(key)? {
            Some(collection) if collection.is_full(room) => Err(EditError::Full),
            _ => Ok(()),
        }
    }

    /// Changes the collection at a key, an empty one where there is none; it may grow. Notes the change
    /// for watchers, notifications and the log. A collection that is empty afterwards is removed, and a
    /// new one that stayed empty isn't stored, but for streams ([`Collection::KEEPS_EMPTY`]).
    ///
    /// # Errors
    /// [`EditError`] where the key holds something else, or one that is as large as it may get.
    #[inline]
    pub(crate) fn edit<T: Collection, R>(
        &mut self,
        key: &[u8],
        event: Event,
        change: impl FnOnce(&mut T) -> Changed<R>,
    ) -> Result<R, EditError> {
        let room = self.all.room;
        let Some(mut entry) = self.touch_mut(key) else {
            let mut collection = T::default();
            let changed = change(&mut collection);
            if changed.count > 0 && !collection.is_gone() {
                let value = NewValue::Object(collection.into_object());
                self.put(key, value, Expiry::Clear, event);
                // Putting it was counted as one.
                self.count_more(changed.count - 1);
            }
            return Ok(changed.result);
        };
        let collection = entry.object_mut().and_then(T::of_mut).ok_or(WrongType)?;
        if collection.is_full(room) {
            return Err(EditError::Full);
        }
        let before = collection.next_expiry();
        let changed = change(collection);
        let (after, emptied) = (collection.next_expiry(), collection.is_gone());
        drop(entry);
        self.note_field_expiry(key, before, after);
        self.note_edit(key, event, changed.count, emptied);
        Ok(changed.result)
    }

    /// [`Db::edit`], but only where the key is there, and for what adds nothing
    /// (or has asked [`Db::check_room`]).
    ///
    /// # Errors
    /// [`WrongType`] where the key holds something else.
    #[inline]
    pub(crate) fn edit_existing<T: Collection, R>(
        &mut self,
        key: &[u8],
        event: Event,
        change: impl FnOnce(&mut T) -> Changed<R>,
    ) -> Result<Option<R>, WrongType> {
        let Some(mut entry) = self.touch_mut(key) else { return Ok(None) };
        let collection = entry.object_mut().and_then(T::of_mut).ok_or(WrongType)?;
        let before = collection.next_expiry();
        let changed = change(collection);
        let (after, emptied) = (collection.next_expiry(), collection.is_gone());
        drop(entry);
        self.note_field_expiry(key, before, after);
        self.note_edit(key, event, changed.count, emptied);
        Ok(Some(changed.result))
    }

    #[inline]
    fn note_edit(&mut self, key: &[u8], event: Event, changes: u64, emptied: bool) {
        if changes > 0 {
            self.count_more(changes - 1);
            self.changed(key, event, true);
            if emptied {
                self.drop_emptied(key);
            }
        }
    }
}

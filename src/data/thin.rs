//! Owning pointers that are one word wide, and how a collection goes into the dictionary's entry as
//! a number for its form and such a pointer.
//!
//! [`Boxed`] is a `Box` that doesn't claim to be the only pointer: an entry's value is lent out as a
//! copy of its pointer, several times at once where a command names a key twice.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::data::intset::IntSet;
use crate::data::listpack::Listpack;

/// An owner of one heap block.
///
/// # Safety
/// `from_raw` of what `into_raw` gave must be the same value again, in any thread.
pub(crate) unsafe trait Thin: Sized {
    /// Hands the block out. It leaks unless [`Thin::from_raw`] takes it back.
    fn into_raw(self) -> NonNull<u8>;

    /// Takes back what [`Thin::into_raw`] gave.
    ///
    /// # Safety
    /// `raw` must come from `into_raw` of this type. Two values of one pointer must neither be
    /// dropped both, nor be used while one of them is changed.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;
}

// SAFETY: both are the block's pointer.
unsafe impl Thin for Listpack {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        Self::into_raw(self)
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::from_raw(raw) }
    }
}

// SAFETY: both are the block's pointer.
unsafe impl Thin for IntSet {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        Self::into_raw(self)
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::from_raw(raw) }
    }
}

/// A value on the heap, owned.
pub struct Boxed<T>(NonNull<T>);

// SAFETY: the value is owned, like a Box's.
unsafe impl<T: Send> Send for Boxed<T> {}
// SAFETY: a shared reference gives shared references only.
unsafe impl<T: Sync> Sync for Boxed<T> {}

impl<T> Boxed<T> {
    /// Moves a value to the heap.
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// Moves the value back from the heap.
    pub(crate) fn into_inner(self) -> T {
        let pointer = ManuallyDrop::new(self).0;
        // SAFETY: the pointer came from a box and is taken back once.
        *unsafe { Box::from_raw(pointer.as_ptr()) }
    }
}

impl<T> Drop for Boxed<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box, which is owned here.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value lives as long as its owner.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Boxed<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and we hold the owner exclusively.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Clone> Clone for Boxed<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T: fmt::Debug> fmt::Debug for Boxed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

// SAFETY: both are the box's pointer.
unsafe impl<T> Thin for Boxed<T> {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0.cast()
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Self(raw.cast())
    }
}

/// A collection type: one of several forms, each of them [`Thin`].
///
/// # Safety
/// As [`Thin`]: the two methods are each other's inverse.
pub(crate) unsafe trait Forms: Sized {
    /// Hands out the form's number, below 16, and its pointer.
    fn into_parts(self) -> (u8, NonNull<u8>);

    /// Takes back what [`Forms::into_parts`] gave.
    ///
    /// # Safety
    /// As [`Thin::from_raw`].
    unsafe fn from_parts(form: u8, raw: NonNull<u8>) -> Self;
}

/// Implements [`Forms`] for an enum whose variants each hold one [`Thin`] value, from their names and
/// numbers, or for a struct that holds just one.
macro_rules! forms {
    (struct $type:ident) => {
        // SAFETY: there is one form only.
        unsafe impl $crate::data::thin::Forms for $type {
            #[inline]
            fn into_parts(self) -> (u8, std::ptr::NonNull<u8>) {
                (0, $crate::data::thin::Thin::into_raw(self.0))
            }

            #[inline]
            unsafe fn from_parts(_form: u8, raw: std::ptr::NonNull<u8>) -> Self {
                // SAFETY: the pointer came from this type (caller).
                Self(unsafe { $crate::data::thin::Thin::from_raw(raw) })
            }
        }
    };
    ($type:ident { $first:ident = $first_number:literal $(, $form:ident = $number:literal)* $(,)? }) => {
        // SAFETY: each number stands for one variant, both ways.
        unsafe impl $crate::data::thin::Forms for $type {
            #[inline]
            fn into_parts(self) -> (u8, std::ptr::NonNull<u8>) {
                match self {
                    Self::$first(thin) => ($first_number, $crate::data::thin::Thin::into_raw(thin)),
                    $(Self::$form(thin) => ($number, $crate::data::thin::Thin::into_raw(thin)),)*
                }
            }

            #[inline]
            unsafe fn from_parts(form: u8, raw: std::ptr::NonNull<u8>) -> Self {
                // SAFETY: the number says which variant the pointer came from (caller).
                unsafe {
                    match form {
                        $($number => Self::$form($crate::data::thin::Thin::from_raw(raw)),)*
                        _ => Self::$first($crate::data::thin::Thin::from_raw(raw)),
                    }
                }
            }
        }
    };
}
pub(crate) use forms;

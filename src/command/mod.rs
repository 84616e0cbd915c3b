//! Data commands: one row and one handler each, in their family's file.
//!
//! Handlers take a [`context::Cx`] and [`args::Args`], change the keyspace through its door, and
//! write the reply. They know neither sessions nor log nor sockets.

pub(crate) mod args;
pub(crate) mod bitfield;
pub(crate) mod bitmap;
pub(crate) mod category;
pub(crate) mod context;
pub(crate) mod dump;
mod element;
pub(crate) mod error;
pub(crate) mod expire;
mod expiry;
pub(crate) mod flush;
#[cfg(test)]
mod generic_tests;
pub(crate) mod geo;
pub(crate) mod geo_search;
pub(crate) mod hash;
pub(crate) mod hash_expire;
pub(crate) mod hash_extended;
#[cfg(test)]
mod hash_tests;
pub(crate) mod hash_walk;
pub(crate) mod hyperloglog;
pub(crate) mod keys;
pub(crate) mod keyspec;
#[cfg(test)]
mod limit_tests;
pub(crate) mod list;
pub(crate) mod list_block;
pub(crate) mod list_move;
pub(crate) mod list_search;
pub(crate) mod object;
pub(crate) mod scan;
pub(crate) mod secrets;
pub(crate) mod set;
pub(crate) mod set_algebra;
pub(crate) mod set_walk;
pub(crate) mod sort;
pub mod spec;
pub(crate) mod stream;
mod stream_args;
pub(crate) mod stream_delete;
mod stream_deliver;
pub(crate) mod stream_group;
pub(crate) mod stream_info;
pub(crate) mod stream_nack;
pub(crate) mod stream_pending;
pub(crate) mod stream_range;
pub(crate) mod stream_read;
pub(crate) mod string;
pub(crate) mod string_compared;
pub(crate) mod string_count;
pub(crate) mod string_increx;
pub(crate) mod string_lcs;
pub(crate) mod string_many;
pub mod syntax;
pub(crate) mod wait;
pub(crate) mod zset;
pub(crate) mod zset_algebra;
pub(crate) mod zset_pop;
pub(crate) mod zset_range;
pub(crate) mod zset_walk;

use crate::command::spec::{Command, DataHandler};

/// All families of data commands.
pub(crate) const FAMILIES: &[&[Command<DataHandler>]] = &[
    keys::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    object::COMMANDS,
    flush::COMMANDS,
    dump::COMMANDS,
    string::COMMANDS,
    string_compared::COMMANDS,
    string_count::COMMANDS,
    string_increx::COMMANDS,
    string_lcs::COMMANDS,
    string_many::COMMANDS,
    bitmap::COMMANDS,
    bitfield::COMMANDS,
    hyperloglog::COMMANDS,
    zset::COMMANDS,
    zset_range::COMMANDS,
    zset_pop::COMMANDS,
    zset_walk::COMMANDS,
    zset_algebra::COMMANDS,
    geo::COMMANDS,
    geo_search::COMMANDS,
    set::COMMANDS,
    set_walk::COMMANDS,
    set_algebra::COMMANDS,
    sort::COMMANDS,
    list::COMMANDS,
    list_search::COMMANDS,
    list_move::COMMANDS,
    list_block::COMMANDS,
    hash::COMMANDS,
    hash_walk::COMMANDS,
    hash_expire::COMMANDS,
    hash_extended::COMMANDS,
    stream::COMMANDS,
    stream_range::COMMANDS,
    stream_read::COMMANDS,
    stream_group::COMMANDS,
    stream_pending::COMMANDS,
    stream_delete::COMMANDS,
    stream_nack::COMMANDS,
    stream_info::COMMANDS,
];

//! Data commands: one row and one handler each, in their family's file.
//!
//! Handlers take a [`context::Cx`] and [`args::Args`], change the keyspace through its door, and
//! write the reply. They know neither sessions nor log nor sockets.

pub mod args;
pub mod bitfield;
pub mod bitmap;
pub mod category;
pub mod context;
pub mod dump;
mod element;
pub mod error;
pub mod expire;
mod expiry;
pub mod flush;
#[cfg(test)]
mod generic_tests;
pub mod geo;
pub mod geo_search;
pub mod hash;
pub mod hash_expire;
pub mod hash_extended;
#[cfg(test)]
mod hash_tests;
pub mod hash_walk;
pub mod hyperloglog;
pub mod keys;
pub mod keyspec;
#[cfg(test)]
mod limit_tests;
pub mod list;
pub mod list_block;
pub mod list_move;
pub mod list_search;
pub mod object;
pub mod scan;
pub mod secrets;
pub mod set;
pub mod set_algebra;
pub mod set_walk;
pub mod sort;
pub mod spec;
pub mod stream;
mod stream_args;
pub mod stream_delete;
mod stream_deliver;
pub mod stream_group;
pub mod stream_info;
pub mod stream_nack;
pub mod stream_pending;
pub mod stream_range;
pub mod stream_read;
pub mod string;
pub mod string_compared;
pub mod string_count;
pub mod string_increx;
pub mod string_lcs;
pub mod string_many;
pub mod syntax;
pub mod wait;
pub mod zset;
pub mod zset_algebra;
pub mod zset_pop;
pub mod zset_range;
pub mod zset_walk;

use crate::command::spec::{Command, DataHandler};

/// All families of data commands.
pub const FAMILIES: &[&[Command<DataHandler>]] = &[
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

//! Client-side caching: telling clients that what they have read, or what begins with their prefixes,
//! has changed.
//!
//! ```text
//!  a reading command of a client that tracks ──► table: key -> readers      (default mode)
//!  CLIENT TRACKING ON BCAST PREFIX p ──────────► prefixes: p -> clients     (broadcasting mode)
//!
//!  the unit's touched keys ──► behind each command: the key's readers are told, and forgotten
//!                          └─► put beside its prefixes; at the end of the tick their clients are told
//!  the unit's touched databases (FLUSH, SWAPDB, a reload, a full sync) ──► all who track: null
//! ```
//! *State.* What a client chose is [`Tracking`], in its session. Whom to tell is here, in [`State`].
//! While no client tracks, the unit keeps no list of touched keys (`Unit::tracing`), and a command costs one
//! comparison of a byte that MONITOR shares ([`observe`]), at each of four places.
//!
//! *Order.* A reader hears of a key at once, between the replies of its own commands; of changes by its own
//! command behind that command's reply, behind EXEC's in a transaction. A command's changes are told before
//! its reads are remembered. Broadcasts come at the end of the tick. All wait for the log as replies do.
//!
//! *Faults.* The client goes: its readers' entries mean nobody (their number says so) and go with their
//! keys; its prefixes go at once. The client that it redirects to goes: it learns that with its next
//! invalidation, as `tracking-redir-broken` where its protocol has pushes. A client doesn't read: as any
//! other, by `client-output-buffer-limit`. The table is full (`tracking-table-max-keys`): keys taken at
//! random go, and their readers are told as if they had changed. A RESP2 client without redirection, or
//! whose target listens to nothing, can't be told anything, as upstream.
//!
//! *Proven* by the model tests of [`table`] and [`prefixes`], and tests/tracking: random clients against the
//! real redis-server.
//!
//! Different from upstream: SWAPDB invalidates everything, which upstream forgets; with NOLOOP a client
//! in broadcasting mode isn't told what its own scripts change, but is told of a key that another
//! client has changed in the same tick.
//! That everything has changed is told as a null in the protocol of the client that hears it, and a client
//! that others redirect to hears of what its own command does behind that command's reply.
//!
//! [`observe`]: crate::engine::tick::observe

use std::collections::BTreeSet;

use crate::command::args::Args;
use crate::command::keyspec;
use crate::command::spec::{Begin, Find, Flags, Key, KeyFlags, Spec};
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::Session;
use crate::engine::session::pubsub::message::Forms;
use crate::engine::session::push::{self, Pushes};
use crate::engine::tick::observe::Observers;
use crate::keyspace::unit::{Origin, Touched};
use crate::mailbox::SessionId;
use crate::resp::reply::{Protocol, Reply};

use prefixes::{Prefixes, Writer};
use table::{Reader, Readers, Table};

pub(crate) mod commands;
mod prefixes;
mod table;

/// The channel that RESP2 clients hear invalidations on.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys that go at once where the table is too full.
const EVICTED_MAX: usize = 1000;
/// Bytes of a prefix beside its text: here and in the table.
const PREFIX_BYTES: usize = 64;
/// A table of more keys is freed on the background thread.
const FREED_HERE_MAX: usize = 4096;

/// Which keys a client hears of.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Those that its reading commands name.
    Read,
    /// Those that its next reading commands name, once it has said CLIENT CACHING YES.
    OptIn,
    /// Those that its reading commands name, but for the next once it has said CLIENT CACHING NO.
    OptOut,
    /// Those with these prefixes.
    Broadcast(BTreeSet<Box<[u8]>>),
}

/// Who gets a client's invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The client itself.
    Own,
    /// The client of this number.
    To(u64),
    /// The client of this number did, and has gone.
    Broken(u64),
}

/// What a client that tracks has chosen.
#[derive(Debug)]
pub(crate) struct Tracking {
    pub(crate) mode: Mode,
    pub(crate) redirect: Redirect,
    /// Whether it wants no word of its own changes.
    pub(crate) no_loop: bool,
    /// Whether it has said CLIENT CACHING for its next request. As upstream, that holds if the mode is
    /// chosen anew in between.
    pub(crate) caching: bool,
}

impl Tracking {
    /// What it holds, in bytes.
    pub(in crate::engine) fn bytes(&self) -> usize {
        match &self.mode {
            Mode::Broadcast(prefixes) => {
                prefixes.iter().map(|prefix| prefix.len() + PREFIX_BYTES).sum()
            }
            Mode::Read | Mode::OptIn | Mode::OptOut => 0,
        }
    }
}

impl Tracking {
    /// Whether the keys of a reading command are remembered.
    fn remembers(&self) -> bool {
        match self.mode {
            Mode::Read => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast(_) => false,
        }
    }
}

/// Whom to tell of what.
#[derive(Debug, Default)]
pub(crate) struct State {
    table: Table,
    prefixes: Prefixes,
    /// How many clients track.
    clients: usize,
    forms: Forms,
}

impl State {
    /// How many clients track.
    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// Keys remembered, their readers altogether, and prefixes.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.table.len(), self.table.items(), self.prefixes.len()]
    }

    /// Whether something is to be broadcast at the end of the tick.
    #[inline]
    pub(in crate::engine) fn any_broadcast(&self) -> bool {
        self.prefixes.any_changed()
    }
}

/// What is told.
#[derive(Clone, Copy)]
enum News<'a> {
    /// One key.
    Key(&'a [u8]),
    /// Several.
    Keys(&'a [&'a [u8]]),
    /// All there are.
    Everything,
}

impl News<'_> {
    fn write(self, reply: &mut Reply<'_>) {
        match reply.protocol() {
            Protocol::Resp3 => {
                reply.push(2);
                reply.bulk(b"invalidate");
            }
            Protocol::Resp2 => {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
        }
        match self {
            News::Key(key) => {
                reply.array(1);
                reply.bulk(key);
            }
            News::Keys(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
            News::Everything => reply.null(),
        }
    }
}

impl Engine {
    /// Tells clients what the unit has touched so far, and forgets that.
    #[cold]
    pub(in crate::engine) fn tell_touched(&mut self) {
        let mut touched = self.databases.unit.take_touched();
        let writer = match self.databases.unit.origin() {
            Some(Origin::Session(id)) => Writer::Client(id),
            Some(Origin::Server) | None => Writer::Nobody,
        };
        let mut flushed = false;
        for one in touched.drain(..) {
            let gone = matches!(one, Touched::Gone(..));
            match one {
                Touched::Key(_, key) | Touched::Gone(_, key) => {
                    flushed = false;
                    // As upstream: a broadcast tells of a key that a client has found expired.
                    self.observe
                        .tracking
                        .prefixes
                        .note(&key, if gone { Writer::Nobody } else { writer });
                    if let Some(readers) = self.observe.tracking.table.take(&key) {
                        self.tell_readers(&readers, News::Key(&key), writer);
                    }
                }
                // FLUSHALL touches every database.
                Touched::Database(_) if flushed => {}
                Touched::Database(_) => {
                    flushed = true;
                    self.tell_everybody();
                }
            }
        }
        self.databases.unit.give_touched(touched);
    }

    fn tell_readers(&mut self, readers: &Readers, news: News<'_>, writer: Writer) {
        self.observe.tracking.forms.clear();
        let mut choked = Vec::new();
        readers.for_each(|reader| {
            self.tell(reader, news, writer, &mut choked);
        });
        self.observe.tracking.forms.shrink();
        self.drop_choked(choked);
    }

    /// Tells one client in default mode.
    fn tell(
        &mut self,
        reader: Reader,
        news: News<'_>,
        writer: Writer,
        choked: &mut Vec<SessionId>,
    ) {
        let Some(session) = self.sessions.get(reader.slot).filter(|one| reader.is(one)) else {
            return;
        };
        let Some(tracking) = &session.hears.tracking else { return };
        if matches!(tracking.mode, Mode::Broadcast(_)) || tracking.no_loop && writer.is(session.id)
        {
            return;
        }
        self.deliver(reader.slot, news, choked);
    }

    /// Everything has changed.
    fn tell_everybody(&mut self) {
        let table = std::mem::take(&mut self.observe.tracking.table);
        if table.len() > FREED_HERE_MAX {
            let bytes = table.bytes();
            self.databases.reclaimer.free(Box::new(table), bytes);
        }
        self.observe.tracking.forms.clear();
        let mut choked = Vec::new();
        for slot in self.sessions.client_slots() {
            if self.sessions[slot].hears.tracking.is_some() {
                self.deliver(slot, News::Everything, &mut choked);
            }
        }
        self.observe.tracking.forms.shrink();
        self.drop_choked(choked);
    }

    /// At the end of a tick: tells what has changed under prefixes.
    #[cold]
    pub(in crate::engine) fn broadcast(&mut self) {
        let mut choked = Vec::new();
        while let Some((clients, changed)) = self.observe.tracking.prefixes.take_changed() {
            let all: Vec<&[u8]> = changed.keys().map(|key| &**key).collect();
            for client in clients {
                let session = self.sessions.get(client.slot).filter(|one| client.is(one));
                let Some(session) = session else { continue };
                let id = session.id;
                let no_loop =
                    session.hears.tracking.as_ref().is_some_and(|tracking| tracking.no_loop);
                if !no_loop || !changed.values().any(|writer| writer.is(id)) {
                    self.deliver(client.slot, News::Keys(&all), &mut choked);
                    continue;
                }
                let others = changed.iter().filter(|(_, writer)| !writer.is(id));
                let others: Vec<&[u8]> = others.map(|(key, _)| &**key).collect();
                if !others.is_empty() {
                    self.observe.tracking.forms.clear();
                    self.deliver(client.slot, News::Keys(&others), &mut choked);
                    self.observe.tracking.forms.clear();
                }
            }
            self.observe.tracking.forms.shrink();
        }
        self.drop_choked(choked);
    }

    /// Gives news to a client that tracks, or to the one that it redirects to. The news' forms are those
    /// of the state: whoever begins with other news clears them.
    fn deliver(&mut self, slot: SessionId, news: News<'_>, choked: &mut Vec<SessionId>) {
        let mut target = slot;
        let Some(tracking) = self.sessions[slot].hears.tracking.as_mut() else { return };
        if let Redirect::To(id) | Redirect::Broken(id) = tracking.redirect {
            match self.sessions.find(id) {
                Some(found) => target = found,
                None => return self.tell_broken(slot, id, choked),
            }
        }
        let session = &mut self.sessions[target];
        let deaf = session.protocol == Protocol::Resp2
            && (target == slot && !self_redirected(session) || !session.is_listening());
        if deaf || session.is_ending() {
            return;
        }
        let form = self.observe.tracking.forms.of(session.protocol, |reply| news.write(reply));
        let most = push::pending_max(&self.settings.client_output_buffer_limit, session);
        let mut pushes =
            Pushes { dirty: &mut self.tick.dirty, spares: &mut self.output.spares, choked };
        pushes.push(session, form, most);
    }

    /// The client that another one redirects to has gone.
    fn tell_broken(&mut self, slot: SessionId, id: u64, choked: &mut Vec<SessionId>) {
        let session = &mut self.sessions[slot];
        if let Some(tracking) = &mut session.hears.tracking {
            tracking.redirect = Redirect::Broken(id);
        }
        if session.protocol == Protocol::Resp2 || session.is_ending() {
            return;
        }
        let mut bytes = Vec::new();
        let mut reply = Reply::new(&mut bytes, Protocol::Resp3);
        reply.push(2);
        reply.bulk(b"tracking-redir-broken");
        reply.int(id as i64);
        let most = push::pending_max(&self.settings.client_output_buffer_limit, session);
        let mut pushes =
            Pushes { dirty: &mut self.tick.dirty, spares: &mut self.output.spares, choked };
        pushes.push(session, &bytes, most);
    }

    /// Remembers the keys of a reading command, where its client wants that. `slot` is the client's, also
    /// where a script has called the command.
    pub(in crate::engine) fn remember_reads(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        let spec = self.registry[command].spec;
        if !spec.flags.contains(Flags::READONLY) || spec.flags.contains(Flags::RUNS_SCRIPTS) {
            return;
        }
        let Some(session) = self.sessions.get(slot) else { return };
        if !session.hears.tracking.as_ref().is_some_and(|tracking| tracking.remembers()) {
            return;
        }
        let reader = Reader::of(session);
        let table = &mut self.observe.tracking.table;
        match only_key(spec) {
            Some(index) => table.remember(args.at(index), reader),
            None => {
                for key in keyspec::find(spec, args).into_iter().flatten() {
                    table.remember(args.at(key.index), reader);
                }
            }
        }
    }

    /// Takes keys out of the table where it has more than `tracking-table-max-keys`.
    pub(in crate::engine) fn limit_tracked(&mut self) {
        let most = match self.settings.tracking_table_max_keys {
            0 => usize::MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        };
        for _ in 0..EVICTED_MAX {
            if self.observe.tracking.table.len() <= most {
                return;
            }
            let Some((key, readers)) = self.observe.tracking.table.take_any(&mut self.rng) else {
                return;
            };
            // The reader itself hears of it, whatever it said of its own changes.
            self.tell_readers(&readers, News::Key(&key), Writer::Nobody);
        }
    }

    /// A request of a client is over: CLIENT CACHING was for this one.
    pub(in crate::engine) fn end_caching(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.in_transaction() {
            return;
        }
        if let Some(tracking) = &mut session.hears.tracking {
            tracking.caching = false;
        }
    }

    /// A client tracks no more: it said so, or it has gone.
    pub(in crate::engine) fn untrack(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(tracking) = session.hears.tracking.take() else { return };
        let reader = Reader::of(session);
        if let Mode::Broadcast(prefixes) = &tracking.mode {
            for prefix in prefixes {
                self.observe.tracking.prefixes.remove(prefix, reader);
            }
        }
        self.observe.tracking.clients -= 1;
        self.observe_tracking();
    }

    fn observe_tracking(&mut self) {
        let tracks = self.observe.tracking.clients > 0;
        self.databases.unit.tracing = tracks;
        self.observe.on.set(Observers::TRACKING, tracks);
        if !tracks {
            // Those who read what is in it have gone.
            self.observe.tracking.table = Table::default();
        }
    }
}

/// Whether a client redirects its invalidations to itself.
fn self_redirected(session: &Session) -> bool {
    let redirect = session.hears.tracking.as_ref().map(|tracking| tracking.redirect);
    redirect == Some(Redirect::To(session.id))
}

/// The index of a command's key, where it has one at a fixed place and no other.
pub(in crate::engine) fn only_key(spec: &Spec) -> Option<usize> {
    match spec.keys {
        [Key { begin: Begin::Index(index), find: Find::Range { last: 0, .. }, flags, .. }]
            if !flags.contains(KeyFlags::NOT_KEY) =>
        {
            Some(*index)
        }
        _ => None,
    }
}

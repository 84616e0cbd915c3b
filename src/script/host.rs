//! What belongs to a machine beside Lua's own state: buffers that calls reuse, the memory in use and
//! its limit, and whom the script that runs calls.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::c_void;
use std::fmt;
use std::ptr::{self, NonNull};

use crate::resp::request::Range;
use crate::script::Server;
use crate::script::pattern::Choice;
use crate::script::register::Registered;

/// Bytes allocated after which the time is looked at, whatever the number of instructions.
const DEBT_MAX: usize = 1 << 20;
/// Room that a scratch buffer keeps from one use to the next.
const SCRATCH_KEPT: usize = 64 << 10;
/// How Lua's blocks are aligned.
const ALIGN: usize = 16;

/// What a script may do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing runs.
    #[default]
    Idle,
    /// A script or function runs.
    Running,
    /// A library is being loaded: no commands.
    Loading,
}

/// How often the time is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hook {
    /// Instructions between two looks.
    pub(super) instructions: std::ffi::c_int,
    /// Whether the next look has been brought forward.
    pub(super) hurried: bool,
    /// Steps of functions of ours that are left until the next look.
    pub(super) fuel: usize,
    /// Whether the script has been told to end: all that it does raises that.
    pub(super) ended: bool,
}

/// A command's words.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) bytes: Vec<u8>,
    pub(super) ranges: Vec<Range>,
}

/// The reply that a script's result has become.
#[derive(Default)]
pub(super) struct ResultReply {
    pub(super) bytes: Vec<u8>,
    /// The errors in it; the texts of those that are not counted among the server's yet.
    pub(super) errors: Vec<Option<Vec<u8>>>,
}

/// What belongs to a machine.
#[derive(Default)]
pub(crate) struct Host {
    /// Bytes that Lua has.
    pub(super) used: usize,
    /// Bytes that it may have.
    pub(super) limit: usize,
    /// Bytes allocated since the time was looked at.
    debt: usize,
    /// How often the time is looked at.
    pub(super) hook: Hook,
    /// Lua's main thread, to bring the hook forward.
    pub(super) main: Option<NonNull<mlua_sys::lua_State>>,
    /// Whom commands go to, while something runs.
    server: Option<NonNull<dyn Server>>,
    /// What may be done.
    pub(super) mode: Mode,
    /// The arguments of the command that is being called.
    pub(super) words: Words,
    /// Text that a library function makes.
    pub(super) scratch: Vec<u8>,
    /// What a pattern can still do differently.
    pub(super) choices: Vec<Choice>,
    /// The reply that a script's result has become.
    pub(super) reply: ResultReply,
    /// The protocol version of the client that is answered.
    pub(super) client_protocol: crate::resp::reply::Protocol,
    /// The state of math.random.
    pub(super) random: u64,
    /// The metatables of proxies, by their address.
    pub(super) proxies: Vec<*const c_void>,
    /// What the library that is being loaded has registered.
    pub(super) registered: Vec<Registered>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Host {
    /// Without a limit; `seed` is that of math.random.
    pub(super) fn new(seed: u64) -> Self {
        Self { limit: usize::MAX, random: seed & 0xffff_ffff_ffff, ..Self::default() }
    }

    /// The server that a running script calls.
    #[inline]
    pub(super) fn server<'a>(&mut self) -> Option<&'a mut dyn Server> {
        // SAFETY: `serve` sets it for as long as the script runs, and it isn't used but through here:
        // the caller of the script waits for its end.
        self.server.map(|mut server| unsafe { server.as_mut() })
    }

    /// Says whom commands go to from now on, and whether they may.
    pub(super) fn serve(&mut self, server: &mut dyn Server, mode: Mode) {
        // SAFETY: only the lifetime changes; `stop` comes before the borrow ends.
        let server: &'static mut dyn Server = unsafe {
            std::mem::transmute::<&mut (dyn Server + '_), &'static mut (dyn Server + 'static)>(
                server,
            )
        };
        self.server = Some(NonNull::from(server));
        self.mode = mode;
        self.hook.ended = false;
    }

    /// Nothing runs any more.
    pub(super) fn stop(&mut self) {
        self.server = None;
        self.mode = Mode::Idle;
        self.words.bytes.clear();
        self.words.ranges.clear();
        self.scratch.clear();
        self.words.bytes.shrink_to(SCRATCH_KEPT);
        self.words.ranges.shrink_to(SCRATCH_KEPT);
        self.scratch.shrink_to(SCRATCH_KEPT);
        self.choices.clear();
        self.choices.shrink_to(SCRATCH_KEPT / size_of::<Choice>());
    }

    /// Takes a block's change of size into account: false where it would be too much.
    #[inline]
    fn account(&mut self, old: usize, new: usize) -> bool {
        let used = self.used - old + new;
        if new > old && used > self.limit {
            return false;
        }
        self.used = used;
        self.debt += new;
        if self.debt > DEBT_MAX {
            self.hurry();
        }
        true
    }

    /// Whether so many bytes may be added, which aren't Lua's but become a value of its.
    #[inline]
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.limit.saturating_sub(self.used)
    }

    /// Brings the hook forward to the next instruction.
    #[cold]
    fn hurry(&mut self) {
        self.debt = 0;
        if let Some(main) = self.main
            && self.mode != Mode::Idle
        {
            self.hook.hurried = true;
            super::machine::hurry(main);
        }
    }
}

/// Lua's allocator.
///
/// # Safety
/// `host` is the machine's [`Host`]; `block` is of `old` bytes and came from here, or null.
pub(super) unsafe extern "C" fn allocate(
    host: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: the machine's host; nothing that could raise runs while it's borrowed here.
    let host = unsafe { &mut *host.cast::<Host>() };
    let old = if block.is_null() { 0 } else { old };
    if !host.account(old, new) {
        return ptr::null_mut();
    }
    // SAFETY: the block was allocated with the layout of its old size; sizes are below the limit.
    unsafe {
        let layout = |bytes| Layout::from_size_align_unchecked(bytes, ALIGN);
        let block = block.cast::<u8>();
        let grown = match (old, new) {
            (0, 0) => ptr::null_mut(),
            (_, 0) => {
                dealloc(block, layout(old));
                ptr::null_mut()
            }
            (0, _) => alloc(layout(new)),
            _ => realloc(block, layout(old), new),
        };
        if grown.is_null() && new > 0 {
            host.used = host.used + old - new;
        }
        grown.cast()
    }
}

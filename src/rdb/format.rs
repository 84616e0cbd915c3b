//! The numbers of the RDB format, shared by both directions.

/// The version written unless told otherwise: what Redis 7.0 reads.
pub const VERSION: u16 = 10;
/// The newest version of Redis's that is read (8.10).
pub(crate) const VERSION_MAX: u16 = 15;
/// Valkey's own versions, which leave Redis's numbers alone: 80 is 9.0, 81 is 9.2.
pub(crate) const VERSIONS_VALKEY: std::ops::RangeInclusive<u16> = 79..=81;
/// The version of Valkey's that is written: what 9.0 reads.
pub const VERSION_VALKEY: u16 = 80;
/// From this version on there is a checksum at the end.
pub(crate) const VERSION_CHECKSUM: u16 = 5;

/// The names of fields that hashes share (8.10).
pub(crate) const OPCODE_HASH_TEMPLATE: u8 = 0xf2;
/// Of Redis: what modules know of the next key. Of Valkey: slots that were on their way to a node.
pub(crate) const OPCODE_KEY_METADATA: u8 = 0xf3;
/// Slot number, keys in it, keys in it that expire.
pub(crate) const OPCODE_SLOT_INFO: u8 = 0xf4;
/// Code of a function library.
pub(crate) const OPCODE_FUNCTION: u8 = 0xf5;
/// A function library as release candidates of Redis 7 wrote it.
pub(crate) const OPCODE_FUNCTION_PRE_GA: u8 = 0xf6;
/// What a module keeps outside of keys.
pub(crate) const OPCODE_MODULE_AUX: u8 = 0xf7;
/// Seconds since the next key was used.
pub(crate) const OPCODE_IDLE: u8 = 0xf8;
/// How often the next key is used.
pub(crate) const OPCODE_FREQUENCY: u8 = 0xf9;
/// A field about the file.
pub(crate) const OPCODE_AUX: u8 = 0xfa;
/// Keys and expiring keys in the database that begins.
pub(crate) const OPCODE_RESIZE_DB: u8 = 0xfb;
/// When the next key expires, in Unix milliseconds.
pub(crate) const OPCODE_EXPIRE_MILLIS: u8 = 0xfc;
/// When the next key expires, in Unix seconds.
pub(crate) const OPCODE_EXPIRE_SECONDS: u8 = 0xfd;
/// The database that the next keys are in.
pub(crate) const OPCODE_SELECT_DB: u8 = 0xfe;
/// The end.
pub(crate) const OPCODE_END: u8 = 0xff;

/// The first version that has listpacks (7.0).
pub(crate) const VERSION_LISTPACK: u16 = 10;
/// The first version that has sets as listpacks (7.2).
pub(crate) const VERSION_SET_LISTPACK: u16 = 11;
/// The first version that has expiry times of fields (7.4).
pub(crate) const VERSION_FIELD_EXPIRY: u16 = 12;
/// The first version that has pending entries of streams that were given back (8.8).
pub(crate) const VERSION_RELEASED: u16 = 14;

/// A string.
pub(crate) const TYPE_STRING: u8 = 0;
/// A list: a number of strings.
pub(crate) const TYPE_LIST: u8 = 1;
/// A set: a number of strings.
pub(crate) const TYPE_SET: u8 = 2;
/// A sorted set: a number of strings, each with a score as text.
pub(crate) const TYPE_ZSET: u8 = 3;
/// A hash: a number of fields and values.
pub(crate) const TYPE_HASH: u8 = 4;
/// A sorted set: a number of strings, each with a score in binary.
pub(crate) const TYPE_ZSET_2: u8 = 5;
/// A module's value.
pub(crate) const TYPE_MODULE: u8 = 7;
/// A hash in a zipmap.
pub const TYPE_HASH_ZIPMAP: u8 = 9;
/// A list in a ziplist.
pub const TYPE_LIST_ZIPLIST: u8 = 10;
/// A set of integers.
pub(crate) const TYPE_SET_INTSET: u8 = 11;
/// A sorted set in a ziplist.
pub const TYPE_ZSET_ZIPLIST: u8 = 12;
/// A hash in a ziplist.
pub const TYPE_HASH_ZIPLIST: u8 = 13;
/// A list in a number of ziplists.
pub(crate) const TYPE_LIST_QUICKLIST: u8 = 14;
/// A hash in a listpack.
pub(crate) const TYPE_HASH_LISTPACK: u8 = 16;
/// A sorted set in a listpack.
pub(crate) const TYPE_ZSET_LISTPACK: u8 = 17;
/// A list in a number of nodes.
pub(crate) const TYPE_LIST_QUICKLIST_2: u8 = 18;
/// A stream as Redis 5 wrote it.
pub(crate) const TYPE_STREAM: u8 = 15;
/// A stream that knows how many entries it ever had (7.0).
pub(crate) const TYPE_STREAM_2: u8 = 19;
/// A stream that knows when consumers were active (7.2).
pub(crate) const TYPE_STREAM_3: u8 = 21;
/// A stream that knows which entries its producers sent before (8.6).
pub(crate) const TYPE_STREAM_4: u8 = 26;
/// A stream whose groups know which entries were given back (8.8).
pub(crate) const TYPE_STREAM_5: u8 = 27;
/// A set in a listpack.
pub(crate) const TYPE_SET_LISTPACK: u8 = 20;
/// A hash with expiring fields: of Valkey 9, and another of release candidates of Redis 7.4.
pub(crate) const TYPE_HASH_2: u8 = 22;
/// A hash with expiring fields in a listpack, of release candidates of Redis 7.4.
pub(crate) const TYPE_HASH_LISTPACK_EX_PRE_GA: u8 = 23;
/// A hash with expiring fields.
pub(crate) const TYPE_HASH_METADATA: u8 = 24;
/// A hash with expiring fields in a listpack.
pub(crate) const TYPE_HASH_LISTPACK_EX: u8 = 25;

/// An array (8.8), which we don't have.
pub(crate) const TYPE_ARRAY: u8 = 28;
/// A hash with its fields' names apart from its values in a listpack (8.10).
pub(crate) const TYPE_HASH_TEMPLATE: u8 = 29;
/// A hash whose fields' names are a template's, its values in a listpack.
pub(crate) const TYPE_HASH_TEMPLATE_REF: u8 = 30;
/// A hash from a template: a number of fields and values.
pub(crate) const TYPE_HASH_TEMPLATE_ARRAY: u8 = 31;
/// A hash whose fields' names are a template's: a number of values.
pub(crate) const TYPE_HASH_TEMPLATE_ARRAY_REF: u8 = 32;

/// A node of a list that is one large element.
pub(crate) const NODE_PLAIN: u8 = 1;
/// A node of a list that is a listpack.
pub(crate) const NODE_PACKED: u8 = 2;

/// A length of 32 bits follows.
pub const LENGTH_32: u8 = 0x80;
/// A length of 64 bits follows.
pub(crate) const LENGTH_64: u8 = 0x81;
/// The two highest bits of a first byte that is no length but says how a string is encoded.
pub(crate) const SPECIAL: u8 = 0xc0;
/// A string that is an integer of 8 bits.
pub(crate) const SPECIAL_INT8: u8 = 0;
/// A string that is an integer of 16 bits.
pub(crate) const SPECIAL_INT16: u8 = 1;
/// A string that is an integer of 32 bits.
pub(crate) const SPECIAL_INT32: u8 = 2;
/// A compressed string: its compressed length, its length, its compressed bytes.
pub(crate) const SPECIAL_LZF: u8 = 3;

/// What an entry of this type byte holds; nothing for bytes that are no type.
pub(crate) const fn type_name(type_byte: u8) -> Option<&'static str> {
    Some(match type_byte {
        TYPE_STRING => "string",
        1 => "list",
        2 => "set",
        3 => "sorted set with text scores",
        4 => "hash",
        5 => "sorted set",
        6 => "module value of a release candidate",
        7 => "module value",
        9 => "hash as zipmap",
        10 => "list as ziplist",
        11 => "set as intset",
        12 => "sorted set as ziplist",
        13 => "hash as ziplist",
        14 => "list as quicklist of ziplists",
        15 => "stream",
        16 => "hash as listpack",
        17 => "sorted set as listpack",
        18 => "list as quicklist of listpacks",
        19 => "stream, second form",
        20 => "set as listpack",
        21 => "stream, third form",
        22 => "hash with expiring fields (Valkey, or a release candidate of Redis)",
        23 => "hash as listpack with expiring fields of a release candidate",
        24 => "hash with expiring fields",
        25 => "hash as listpack with expiring fields",
        26 => "stream, fourth form",
        27 => "stream, fifth form",
        28 => "array",
        29 => "hash from a template as listpack",
        30 => "hash from a template of the file as listpack",
        31 => "hash from a template",
        32 => "hash from a template of the file",
        33 => "rate limiter",
        _ => return None,
    })
}

/// What upstream's log calls the block that a value of this type byte is, when its check fails.
pub(crate) const fn block_name(type_byte: u8) -> &'static str {
    match type_byte {
        TYPE_HASH_ZIPMAP => "Zipmap",
        TYPE_LIST_ZIPLIST | TYPE_LIST_QUICKLIST => "Ziplist",
        TYPE_SET_INTSET => "Intset",
        TYPE_ZSET_ZIPLIST => "Zset ziplist",
        TYPE_HASH_ZIPLIST => "Hash ziplist",
        TYPE_HASH_LISTPACK => "Hash listpack",
        TYPE_ZSET_LISTPACK => "Zset listpack",
        TYPE_LIST_QUICKLIST_2 => "Listpack",
        TYPE_SET_LISTPACK => "Set listpack",
        TYPE_STREAM | TYPE_STREAM_2 | TYPE_STREAM_3 | TYPE_STREAM_4 | TYPE_STREAM_5 => {
            "Stream listpack"
        }
        _ => "Value",
    }
}

/// Whose form of what they write differently a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Redis's, and Valkey's up to 8.
    #[default]
    Redis,
    /// That of Valkey from 9 on.
    Valkey,
}

impl Dialect {
    /// Whose version it is.
    pub fn of(version: u16) -> Self {
        if VERSIONS_VALKEY.contains(&version) { Self::Valkey } else { Self::Redis }
    }
}

/// Whether streams of this version can have pending entries that were given back.
pub(crate) fn has_released(version: u16) -> bool {
    version >= VERSION_RELEASED && Dialect::of(version) == Dialect::Redis
}

//! DEBUG PROTOCOL: a sample of each reply type, for the tests of client libraries.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::engine::Engine;
use crate::mailbox::SessionId;
use crate::resp::reply::{Protocol, Reply};

/// Writes a sample.
type Write = fn(&mut Reply<'_>);

/// A type's name and what writes its sample.
const SAMPLES: &[(&str, Write)] = &[
    ("string", |reply| reply.bulk(b"Hello World")),
    ("integer", |reply| reply.int(12_345)),
    // Upstream's example, which is not meant for computing.
    ("double", |reply| reply.double(3141.0 / 1000.0)),
    ("null", |reply| reply.null()),
    ("array", |reply| {
        reply.array(3);
        (0..3).for_each(|number| reply.int(number));
    }),
    ("set", |reply| {
        reply.set(3);
        (0..3).for_each(|number| reply.int(number));
    }),
    ("map", |reply| {
        reply.map(3);
        for number in 0..3 {
            reply.int(number);
            reply.boolean(number == 1);
        }
    }),
    ("attrib", |reply| {
        if reply.protocol() == Protocol::Resp3 {
            reply.attribute(1);
            reply.bulk(b"key-popularity");
            reply.array(2);
            reply.bulk(b"key:123");
            reply.int(90);
        }
        // Attributes stand before a reply.
        reply.bulk(b"Some real reply following the attribute");
    }),
    ("push", |reply| {
        reply.push(2);
        reply.bulk(b"server-cpu-usage");
        reply.int(42);
        // A push is no reply.
        reply.bulk(b"Some real reply following the push reply");
    }),
    ("verbatim", |reply| reply.verbatim("txt", b"This is a verbatim\nstring")),
    ("true", |reply| reply.boolean(true)),
    ("false", |reply| reply.boolean(false)),
    ("bignum", |reply| reply.big_number(b"1234567999999999999999999999999999999")),
];

/// DEBUG PROTOCOL.
pub(crate) fn protocol(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let Some((name, write)) = SAMPLES.iter().find(|(name, _)| args.is(2, name)) else {
        return Err(CommandError::text(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ));
    };
    let mut reply = engine.sessions[slot].reply();
    if *name == "push" && reply.protocol() == Protocol::Resp2 {
        return Err(CommandError::text("ERR RESP2 is not supported by this command"));
    }
    write(&mut reply);
    Ok(())
}

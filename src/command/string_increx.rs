//! INCREX: adding to a number within bounds and setting its expiry time, by the documentation of
//! Redis 8.8.
//!
//! It is logged as the SET that it comes to, which older servers know, too.

use crate::base::text::{LongDouble, parse_i64};
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::expire::delete_expired;
use crate::command::expiry::{Change, Given, Range, Timeless};
use crate::command::spec::{
    Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Group, Key, write,
};
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::Expiry;
use crate::keyspace::unit::Event;

/// INCREX.
pub const COMMANDS: &[Command<DataHandler>] = &[write("INCREX", AtLeast(2), increx as DataHandler)
    .group(Group::String)
    .flags(Flags::DENYOOM.union(Flags::FAST))
    .keys(&[Key::at(1).rw().access().update()])
    .effect(Effect::Rewritten)
    .since("8.8.0")
    .cost("O(1)")
    .syntax(
        "key [BYFLOAT float:double|BYINT integer]:increment [LBOUND lowerbound:string] \
         [UBOUND upperbound:string] [SATURATE] [EX seconds|PX milliseconds|EXAT unix-time-seconds|\
         PXAT unix-time-milliseconds|PERSIST]:expiration [ENX]",
    )
    .summary("Adds to a number within bounds and sets its expiry time.")
    .deviates(&[
        "what BYFLOAT added is told as the difference of the two numbers",
        "no NX and XX of Valkey 9.2",
    ])];

/// By how much, and the least and the greatest that the sum may be.
#[derive(Clone, Copy, Debug)]
enum Step {
    Integer { amount: i64, bounds: (i64, i64) },
    Float { amount: LongDouble, bounds: (LongDouble, LongDouble) },
}

/// The command's options as they were given.
#[derive(Debug, Default)]
struct Words {
    by_integer: Option<usize>,
    by_float: Option<usize>,
    lower: Option<usize>,
    upper: Option<usize>,
    saturate: bool,
    time: Option<Given>,
    /// `ENX`: a time only where there is none.
    only_new_time: bool,
}

impl Words {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut words = Self::default();
        let mut at = 2;
        while at < args.len() {
            let number = at + 1;
            let place = match () {
                () if args.is(at, "BYINT") => Some(&mut words.by_integer),
                () if args.is(at, "BYFLOAT") => Some(&mut words.by_float),
                () if args.is(at, "LBOUND") => Some(&mut words.lower),
                () if args.is(at, "UBOUND") => Some(&mut words.upper),
                () => None,
            };
            if let Some(place) = place {
                if number >= args.len() || place.replace(number).is_some() {
                    return Err(CommandError::Syntax);
                }
                at = number;
            } else if args.is(at, "SATURATE") {
                words.saturate = true;
            } else if args.is(at, "ENX") {
                words.only_new_time = true;
            } else if let Some(given) = Given::at(args, at, Timeless::Persist) {
                if given.end(at) >= args.len() || words.time.replace(given).is_some() {
                    return Err(CommandError::Syntax);
                }
                at = given.end(at);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let is_timeless = matches!(words.time, Some(Given::Timeless(_)));
        if words.by_integer.is_some() && words.by_float.is_some()
            || words.only_new_time && is_timeless
        {
            return Err(CommandError::Syntax);
        }
        if words.only_new_time && words.time.is_none() {
            return Err(CommandError::text("ERR ENX flag requires an expiration"));
        }
        Ok(words)
    }

    fn step(&self, args: Args<'_>) -> Result<Step, CommandError> {
        const CROSSED: CommandError = CommandError::text("ERR LBOUND can't be greater than UBOUND");
        if let Some(at) = self.by_float {
            let amount = LongDouble::parse(args.at(at)).ok_or(CommandError::NotFloat)?;
            let bound = |at: Option<usize>, name: &str, open: LongDouble| match at {
                None => Ok(open),
                Some(at) => LongDouble::parse(args.at(at))
                    .ok_or_else(|| CommandError::owned(format!("ERR {name} is not a valid float"))),
            };
            let lower = bound(self.lower, "LBOUND", LongDouble::least())?;
            let upper = bound(self.upper, "UBOUND", LongDouble::greatest())?;
            if lower > upper {
                return Err(CROSSED);
            }
            return Ok(Step::Float { amount, bounds: (lower, upper) });
        }
        let amount = self.by_integer.map_or(Ok(1), |at| args.int(at))?;
        let bound = |at: Option<usize>, name: &str, open: i64| match at {
            None => Ok(open),
            Some(at) => parse_i64(args.at(at)).ok_or_else(|| {
                CommandError::owned(format!("ERR {name} is not an integer or out of range"))
            }),
        };
        let lower = bound(self.lower, "LBOUND", i64::MIN)?;
        let upper = bound(self.upper, "UBOUND", i64::MAX)?;
        if lower > upper {
            return Err(CROSSED);
        }
        Ok(Step::Integer { amount, bounds: (lower, upper) })
    }
}

/// A number and what was added to get it; `None` where nothing may be.
struct Sum<N> {
    new: N,
    added: N,
}

fn add_integer(
    old: i64,
    amount: i64,
    (lower, upper): (i64, i64),
    saturate: bool,
) -> Result<Option<Sum<i64>>, CommandError> {
    let sum = i128::from(old) + i128::from(amount);
    let within = sum.clamp(i128::from(lower), i128::from(upper));
    if within != sum && !saturate {
        return Ok(None);
    }
    let new = i64::try_from(within).unwrap_or(lower);
    let added =
        new.checked_sub(old).ok_or(CommandError::text("ERR applied increment would overflow"))?;
    Ok(Some(Sum { new, added }))
}

fn add_float(
    old: LongDouble,
    amount: LongDouble,
    (lower, upper): (LongDouble, LongDouble),
    saturate: bool,
) -> Result<Option<Sum<LongDouble>>, CommandError> {
    if !amount.is_finite() || !old.is_finite() {
        return Err(CommandError::text("ERR increment would produce NaN or Infinity"));
    }
    let sum = old.plus(amount);
    let new = match () {
        () if sum < lower => lower,
        () if sum > upper => upper,
        () => sum.or_limit(),
    };
    if new != sum && !saturate {
        return Ok(None);
    }
    let added = new.minus(old);
    if !added.is_finite() || !new.is_finite() {
        return Err(CommandError::text("ERR applied increment would be Infinity"));
    }
    Ok(Some(Sum { new, added }))
}

fn increx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let words = Words::parse(args)?;
    let step = words.step(args)?;
    let change = match words.time {
        Some(given) => given.change(cx, args, Range::Positive, "increx")?,
        None => Change::Keep,
    };
    let key = args.at(1);
    let mut digits = Vec::with_capacity(32);
    match step {
        Step::Integer { amount, bounds } => {
            let old = match cx.databases.db(cx.selected).touch_string(key)? {
                None => 0,
                Some(ValueRef::Int(number)) => number,
                Some(ValueRef::Str(bytes)) => parse_i64(bytes).ok_or(CommandError::NotInteger)?,
                Some(ValueRef::Object(_)) => return Err(CommandError::WrongType),
            };
            let sum = add_integer(old, amount, bounds, words.saturate)?;
            let (new, added) = sum.as_ref().map_or((old, 0), |sum| (sum.new, sum.added));
            cx.reply.array(2);
            cx.reply.int(new);
            cx.reply.int(added);
            if sum.is_some() {
                crate::base::text::push_i64(&mut digits, new);
                put(cx, key, (&digits, NewValue::Int(new)), change, &words, Event::INCRBY);
            }
        }
        Step::Float { amount, bounds } => {
            let old = match cx.databases.db(cx.selected).touch_string(key)? {
                None => LongDouble::parse(b"0"),
                Some(ValueRef::Int(number)) => Some(LongDouble::from(number)),
                Some(ValueRef::Str(bytes)) => LongDouble::parse(bytes),
                Some(ValueRef::Object(_)) => return Err(CommandError::WrongType),
            };
            let old = old.ok_or(CommandError::NotFloat)?;
            let sum = add_float(old, amount, bounds, words.saturate)?;
            let none = LongDouble::from(0);
            let (new, added) = sum.as_ref().map_or((old, none), |sum| (sum.new, sum.added));
            cx.reply.array(2);
            reply_float(cx, new);
            reply_float(cx, added);
            if sum.is_some() {
                new.push(&mut digits);
                put(cx, key, (&digits, NewValue::Str(&digits)), change, &words, Event::INCRBYFLOAT);
            }
        }
    }
    Ok(Flow::Done)
}

fn reply_float(cx: &mut Cx<'_>, number: LongDouble) {
    let mut digits = Vec::with_capacity(32);
    number.push(&mut digits);
    cx.reply.double_text(&digits);
}

/// Puts the sum and its time, and logs that. A time that has passed deletes the key instead.
fn put(
    cx: &mut Cx<'_>,
    key: &[u8],
    (digits, value): (&[u8], NewValue<'_>),
    change: Change,
    words: &Words,
    event: Event,
) {
    let has_time = cx.db().peek(key).is_some_and(|entry| entry.expiry().is_some());
    let expiry = match change {
        Change::Keep => Expiry::Keep,
        Change::At(_) if has_time && words.only_new_time => Expiry::Keep,
        Change::Persist => Expiry::Clear,
        Change::At(at) => Expiry::At(at),
    };
    match expiry {
        Expiry::At(at) if at <= cx.now && !cx.replaying => {
            delete_expired(cx, key);
        }
        Expiry::At(at) => {
            cx.db().put(key, value, expiry, event);
            cx.databases.unit.notice(Event::EXPIRE, cx.selected, key);
            let mut moment = itoa::Buffer::new();
            cx.log(&[b"SET", key, digits, b"PXAT", moment.format(at.0).as_bytes()]);
        }
        Expiry::Keep => {
            cx.db().put(key, value, expiry, event);
            cx.log(&[b"SET", key, digits, b"KEEPTTL"]);
        }
        Expiry::Clear => {
            cx.db().put(key, value, expiry, event);
            if has_time {
                cx.databases.unit.notice(Event::PERSIST, cx.selected, key);
            }
            cx.log(&[b"SET", key, digits]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::{NOW, World};

    /// Runs a command on a key that holds a string; replies, then what it holds.
    fn on(value: &str, words: &str) -> String {
        let mut world = World::new();
        world.run(&format!("SET k {value}"));
        let reply = world.run(format!("INCREX k {words}").trim_end());
        let after = world.run("GET k");
        format!("{reply} {after}")
    }

    #[test]
    fn integers_stay_within_bounds() {
        for (value, words, wanted) in [
            ("10", "", "*2|:11|:1 $2|11"),
            ("10", "BYINT 5 UBOUND 15", "*2|:15|:5 $2|15"),
            ("10", "BYINT 5 UBOUND 12", "*2|:10|:0 $2|10"),
            ("10", "BYINT -5 UBOUND 5", "*2|:5|:-5 $1|5"),
            ("10", "BYINT 5 LBOUND 20", "*2|:10|:0 $2|10"),
            ("10", "BYINT 5 UBOUND 5 SATURATE", "*2|:5|:-5 $1|5"),
            ("10", "BYINT -5 LBOUND 20 SATURATE", "*2|:20|:10 $2|20"),
            ("9223372036854775807", "", "*2|:9223372036854775807|:0 $19|9223372036854775807"),
            (
                "9223372036854775800",
                "BYINT 10 SATURATE",
                "*2|:9223372036854775807|:7 $19|9223372036854775807",
            ),
            ("10", "BYINT 9223372036854775807 UBOUND 100 SATURATE", "*2|:100|:90 $3|100"),
            (
                "9223372036854775807",
                "BYINT -5 UBOUND -9223372036854775808 SATURATE",
                "-ERR applied increment would overflow $19|9223372036854775807",
            ),
        ] {
            assert_eq!(on(value, words), wanted, "{value} {words}");
        }
    }

    #[test]
    fn floats_stay_within_bounds() {
        let infinite = "-ERR applied increment would be Infinity $2|10";
        for (value, words, wanted) in [
            ("1.5", "BYFLOAT 0.25", "*2|$4|1.75|$4|0.25 $4|1.75"),
            ("10", "BYFLOAT 5.5 UBOUND 12.5", "*2|$2|10|$1|0 $2|10"),
            ("10", "BYFLOAT 5.5 UBOUND 12.5 SATURATE", "*2|$4|12.5|$3|2.5 $4|12.5"),
            ("10", "BYFLOAT -6 LBOUND 8 SATURATE", "*2|$1|8|$2|-2 $1|8"),
            ("10", "BYFLOAT 1e4932 UBOUND 100 SATURATE", "*2|$3|100|$2|90 $3|100"),
            ("10", "BYFLOAT 1 UBOUND inf", "*2|$2|11|$1|1 $2|11"),
            ("10", "BYFLOAT 1 LBOUND inf UBOUND inf", "*2|$2|10|$1|0 $2|10"),
            ("10", "BYFLOAT 1 LBOUND inf UBOUND inf SATURATE", infinite),
            ("10", "BYFLOAT 1 LBOUND -inf UBOUND -inf SATURATE", infinite),
            ("10", "BYFLOAT inf", "-ERR increment would produce NaN or Infinity $2|10"),
        ] {
            assert_eq!(on(value, words), wanted, "{value} {words}");
        }
        let largest = on("1e4932", "BYFLOAT 1e4932 SATURATE");
        assert!(largest.starts_with("*2|$4933|1189731495357231765"), "{largest}");
        assert!(on("1e4932", "BYFLOAT 1e4932").contains("|$1|0 "), "beyond all numbers");
    }

    #[test]
    fn times_go_with_the_sum() {
        let mut world = World::new();
        for (command, reply, logged) in [
            ("INCREX k EX 100 ENX", "*2|:1|:1", format!("SET k 1 PXAT {}", NOW + 100_000)),
            ("INCREX k EX 900 ENX", "*2|:2|:1", "SET k 2 KEEPTTL".to_owned()),
            ("INCREX k", "*2|:3|:1", "SET k 3 KEEPTTL".to_owned()),
            ("INCREX k UBOUND 3 EX 900", "*2|:3|:0", String::new()),
            ("PTTL k", ":100000", String::new()),
            ("INCREX k PERSIST", "*2|:4|:1", "SET k 4".to_owned()),
            ("TTL k", ":-1", String::new()),
            ("INCREX k EXAT 1 ENX", "*2|:5|:1", "DEL k".to_owned()),
            ("INCREX k EXAT 1", "*2|:1|:1", String::new()),
            ("EXISTS k", ":0", String::new()),
            ("INCREX k UBOUND 0", "*2|:0|:0", String::new()),
            ("EXISTS k", ":0", String::new()),
            ("INCREX k UBOUND 0 SATURATE", "*2|:0|:0", "SET k 0 KEEPTTL".to_owned()),
        ] {
            assert_eq!(world.run(command), reply, "{command}");
            assert_eq!(world.logged(), logged, "{command}");
        }
    }

    #[test]
    fn a_time_that_goes_is_told() {
        let mut world = World::new();
        world.run("SET k 1 EX 100");
        for noticed in ["incrby:0:k persist:0:k", "incrby:0:k"] {
            world.run("INCREX k PERSIST");
            assert_eq!(world.noticed(), noticed);
        }
    }

    #[test]
    fn arguments_are_checked() {
        let mut world = World::new();
        world.run("SET k 10");
        world.run("RPUSH list 1");
        world.run("SET text x");
        let crossed = "-ERR LBOUND can't be greater than UBOUND";
        for (words, reply) in [
            ("k BYINT", "-ERR syntax error"),
            ("k BYINT 1 BYFLOAT 1", "-ERR syntax error"),
            ("k BYINT 1 BYINT 1", "-ERR syntax error"),
            ("k PERSIST EX 1", "-ERR syntax error"),
            ("k PERSIST ENX", "-ERR syntax error"),
            ("k EX", "-ERR syntax error"),
            ("k BOGUS", "-ERR syntax error"),
            ("k ENX", "-ERR ENX flag requires an expiration"),
            ("k BYINT 1.5", "-ERR value is not an integer or out of range"),
            ("k BYFLOAT x", "-ERR value is not a valid float"),
            ("k UBOUND 1.5", "-ERR UBOUND is not an integer or out of range"),
            ("k BYFLOAT 1 LBOUND x", "-ERR LBOUND is not a valid float"),
            ("k LBOUND 2 UBOUND 1", crossed),
            ("k BYFLOAT 1 UBOUND -inf", crossed),
            ("k EX 0", "-ERR invalid expire time in 'increx' command"),
            ("text", "-ERR value is not an integer or out of range"),
            ("text BYFLOAT 1", "-ERR value is not a valid float"),
        ] {
            assert_eq!(world.run(&format!("INCREX {words}")), reply, "{words}");
        }
        assert!(world.run("INCREX list EXAT 1").starts_with("-WRONGTYPE"));
        assert!(world.run("INCREX list BYFLOAT 1").starts_with("-WRONGTYPE"));
    }
}

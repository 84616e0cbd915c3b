//! When two replies are the same: to the byte, unless the command's nature says otherwise.

use std::collections::BTreeSet;

use crate::support::client::Value;

/// How the replies to one command are compared. An error reply must always be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Byte for byte.
    Exact,
    /// The same kind of reply; its content depends on time, chance or the process.
    Shape,
    /// Integers that time makes differ by at most this; -2, -1 and 0 must be equal.
    Near(i64),
    /// What tells times of streams: moments and times since then may differ.
    Idle,
    /// The same elements in any order.
    Unordered,
    /// A cursor and elements; compared as sets where the iteration is complete.
    Scan,
    /// HELLO: the same fields, apart from connection number and version.
    Hello,
}

/// Whether `ours` is as good as `theirs`.
pub fn same(check: Check, theirs: &Value, ours: &Value) -> bool {
    if theirs == ours {
        return true;
    }
    if theirs.is_error() || ours.is_error() {
        return false;
    }
    match check {
        Check::Exact => false,
        Check::Shape => std::mem::discriminant(theirs) == std::mem::discriminant(ours),
        Check::Near(tolerance) => match (theirs, ours) {
            (Value::Integer(a), Value::Integer(b)) => {
                *a > 0 && *b > 0 && a.abs_diff(*b) <= tolerance as u64
            }
            (Value::Array(theirs), Value::Array(ours)) => {
                let mut pairs = theirs.iter().zip(ours);
                theirs.len() == ours.len() && pairs.all(|(a, b)| same(check, a, b))
            }
            _ => false,
        },
        Check::Idle => same_idle(theirs, ours),
        Check::Unordered => {
            same(Check::Shape, theirs, ours) && sorted(theirs.elements()) == sorted(ours.elements())
        }
        Check::Scan => same_scan(&theirs.elements(), &ours.elements()),
        Check::Hello => same_hello(theirs, ours),
    }
}

/// How far apart times may be, in milliseconds.
const APART_MS: u64 = 5_000;
/// Whatever is more is a moment of today.
const MOMENT_MIN: i64 = 1_000_000_000_000;

/// Moments are large numbers; times stand behind a name, or third of what is pending.
fn same_idle(theirs: &Value, ours: &Value) -> bool {
    let near = |theirs: &Value, ours: &Value| match (theirs, ours) {
        (Value::Integer(a), Value::Integer(b)) => {
            (*a >= 0) == (*b >= 0) && a.abs_diff(*b) <= APART_MS
        }
        _ => false,
    };
    if let (Value::Integer(a), Value::Integer(b)) = (theirs, ours) {
        return a == b || *a > MOMENT_MIN && *b > MOMENT_MIN && near(theirs, ours);
    }
    let (theirs_all, ours_all) = (theirs.elements(), ours.elements());
    if theirs_all.is_empty() || theirs_all.len() != ours_all.len() {
        return theirs == ours;
    }
    let is_pending =
        theirs_all.len() == 4 && matches!(theirs_all[2..], [Value::Integer(_), Value::Integer(_)]);
    theirs_all.iter().zip(&ours_all).enumerate().all(|(index, (a, b))| {
        let named =
            index > 0 && matches!(theirs_all[index - 1].bytes(), Some(b"idle" | b"inactive"));
        same_idle(a, b) || (named || is_pending && index == 2) && near(a, b)
    })
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort();
    values
}

fn same_scan(theirs: &[Value], ours: &[Value]) -> bool {
    let ([their_cursor, their_items], [our_cursor, our_items]) = (theirs, ours) else {
        return false;
    };
    let complete = |cursor: &Value| cursor.bytes() == Some(b"0");
    if !complete(their_cursor) || !complete(our_cursor) {
        return same(Check::Shape, their_items, our_items);
    }
    let set = |items: &Value| items.elements().into_iter().collect::<BTreeSet<_>>();
    set(their_items) == set(our_items)
}

fn same_hello(theirs: &Value, ours: &Value) -> bool {
    let (their_fields, our_fields) = (theirs.elements(), ours.elements());
    same(Check::Shape, theirs, ours)
        && their_fields.len() == our_fields.len()
        && their_fields.chunks(2).zip(our_fields.chunks(2)).all(|(theirs, ours)| {
            let varies = matches!(theirs[0].bytes(), Some(b"id" | b"version"));
            theirs[0] == ours[0]
                && same(if varies { Check::Shape } else { Check::Exact }, &theirs[1], &ours[1])
        })
}

/// Whether two replies are the same but for how their numbers are written: 7.0 prints 17 digits, 7.2
/// and ours as few as tell the number.
pub fn same_but_for_digits(theirs: &Value, ours: &Value) -> bool {
    if theirs == ours {
        return true;
    }
    match (theirs, ours) {
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(a, b)| same_but_for_digits(a, b))
        }
        (Value::Bulk(theirs), Value::Bulk(ours)) | (Value::Double(theirs), Value::Double(ours)) => {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
            number(theirs).is_some_and(|theirs| number(ours) == Some(theirs))
        }
        _ => false,
    }
}

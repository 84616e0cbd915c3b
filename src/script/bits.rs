//! The library `bit`: operations on 32 bits.

use std::ffi::c_int;

use crate::script::raw::{CFunction, Native, State, native};

/// Puts the library into the globals.
pub(super) fn install(lua: State, globals: c_int) {
    let functions: [(&str, CFunction); 12] = [
        ("tobit", native!(to_bit)),
        ("tohex", native!(to_hex)),
        ("bnot", native!(not)),
        ("band", native!(and)),
        ("bor", native!(or)),
        ("bxor", native!(xor)),
        ("lshift", native!(shift_left)),
        ("rshift", native!(shift_right)),
        ("arshift", native!(shift_right_signed)),
        ("rol", native!(rotate_left)),
        ("ror", native!(rotate_right)),
        ("bswap", native!(swap)),
    ];
    super::base_lib::set_library(lua, globals, "bit", &functions);
}

/// An argument's low 32 bits, as the number nearest to it has them.
fn bits(lua: State, argument: c_int) -> u32 {
    // Above 2^52 a double's last bits are whole numbers: adding 1.5 * 2^52 rounds to one.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (lua.check_number(argument) + SHIFT).to_bits() as u32
}

fn answer(lua: State, bits: u32) -> Native {
    lua.push_number(f64::from(bits.cast_signed()));
    Ok(1)
}

fn to_bit(lua: State) -> Native {
    answer(lua, bits(lua, 1))
}

fn to_hex(lua: State) -> Native {
    let number = bits(lua, 1);
    let wanted = if lua.top() < 2 { 8 } else { bits(lua, 2).cast_signed() };
    let digits: &[u8; 16] = if wanted < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let count = wanted.unsigned_abs().min(8) as usize;
    let mut text = [0u8; 8];
    for (place, digit) in text[..count].iter_mut().rev().enumerate() {
        *digit = digits[(number >> (4 * place)) as usize & 15];
    }
    lua.push_bytes(&text[..count]);
    Ok(1)
}

fn not(lua: State) -> Native {
    answer(lua, !bits(lua, 1))
}

fn folded(lua: State, operation: fn(u32, u32) -> u32) -> Native {
    let first = bits(lua, 1);
    let result = (2..=lua.top()).fold(first, |result, next| operation(result, bits(lua, next)));
    answer(lua, result)
}

fn and(lua: State) -> Native {
    folded(lua, |one, other| one & other)
}

fn or(lua: State) -> Native {
    folded(lua, |one, other| one | other)
}

fn xor(lua: State) -> Native {
    folded(lua, |one, other| one ^ other)
}

fn moved(lua: State, operation: fn(u32, u32) -> u32) -> Native {
    let (number, places) = (bits(lua, 1), bits(lua, 2) & 31);
    answer(lua, operation(number, places))
}

fn shift_left(lua: State) -> Native {
    moved(lua, |number, places| number << places)
}

fn shift_right(lua: State) -> Native {
    moved(lua, |number, places| number >> places)
}

fn shift_right_signed(lua: State) -> Native {
    moved(lua, |number, places| (number.cast_signed() >> places).cast_unsigned())
}

fn rotate_left(lua: State) -> Native {
    moved(lua, u32::rotate_left)
}

fn rotate_right(lua: State) -> Native {
    moved(lua, u32::rotate_right)
}

fn swap(lua: State) -> Native {
    answer(lua, bits(lua, 1).swap_bytes())
}

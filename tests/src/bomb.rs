//! A component that bombs the compiler.

use std::fmt::Write as _;

use crate::guests;

/// A small component that is valid, and whose one function makes any compiler that keeps values in registers hold `loops` × `locals` of them:
/// every loop is entered from its inside again, with every local changed.
#[must_use]
pub fn compiler_bomb(loops: usize, locals: usize) -> Vec<u8> {
    let mut text = String::from("(func $bomb (local");
    text.push_str(&" i64".repeat(locals));
    text.push_str(")\n");
    text.push_str(&"(loop ".repeat(loops));
    for local in 0..locals {
        let _ = write!(text, "(local.set {local} (i64.add (local.get {local}) (i64.const {local})))");
    }
    for depth in 0..loops {
        let _ = write!(text, "(br_if {depth} (i32.wrap_i64 (local.get {})))", depth % locals);
    }
    text.push_str(&")".repeat(loops));
    text.push_str(")\n(func (export \"hookyard:plugin/handler@0.1.0#handle\") (param i32) (result i32) (call $bomb) (call $ack))");
    guests::encode(&text)
}

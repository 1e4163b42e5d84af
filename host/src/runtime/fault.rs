//! How a run that did not answer ended, in the host's words.

use wasmtime::{Error, FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::state::State;
use crate::delivery::{Fault, FaultKind};

/// Functions of a backtrace that are told.
const FRAMES_SHOWN_MAX: usize = 8;

/// The fault behind an error of instantiation or of the call.
pub(super) fn fault_of(error: &Error, state: &State) -> Fault {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Fault::new(FaultKind::Trapped, format!("called exit({code}): a handler must return its verdict"));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::new(FaultKind::HostUnavailable, format!("the host has no room for another run: {error:#}"));
    }
    let trap = error.downcast_ref::<Trap>().copied();
    match trap {
        Some(Trap::OutOfFuel) => {
            return Fault::new(FaultKind::OutOfFuel, "the run used all its fuel; do less, or raise `fuel` in the plugin's limits");
        }
        Some(Trap::Interrupt) => return deadline_exceeded(),
        _ => {}
    }
    // A refused growth first: what follows it (an abort, a null pointer) is how the guest took the refusal.
    if let Some(note) = state.memory.note() {
        return Fault::new(FaultKind::OutOfMemory, note);
    }
    if let Some(failure) = state.memory.host_failure() {
        return Fault::new(FaultKind::HostUnavailable, failure);
    }
    match trap {
        // What a guest said before it trapped is the reason; the trap is how it ended.
        Some(trap) if !breaks_the_abi(trap) => {
            let what = state.log.last_words().map_or_else(|| trap.to_string(), |words| format!("{words} ({trap})"));
            Fault::new(FaultKind::Trapped, with_backtrace(&what, error))
        }
        _ => Fault::new(FaultKind::AbiLimit, with_backtrace(&error.root_cause().to_string(), error)),
    }
}

/// The run passed its wall-clock limit.
pub(super) fn deadline_exceeded() -> Fault {
    Fault::new(FaultKind::DeadlineExceeded, "the run took longer than it may; do less, or raise `wall_ms` in the plugin's limits")
}

fn breaks_the_abi(trap: Trap) -> bool {
    matches!(
        trap,
        Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::InvalidChar
            | Trap::UnalignedPointer
            | Trap::CannotEnterComponent
            | Trap::CannotLeaveComponent
    )
}

/// With the functions it happened in, innermost first, where the component says their names; numbers would tell its author nothing.
fn with_backtrace(what: &str, error: &Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let names: Vec<&str> = frames.iter().filter_map(FrameInfo::func_name).take(FRAMES_SHOWN_MAX).collect();
    if names.is_empty() { what.to_owned() } else { format!("{what}, in {}", names.join(" < ")) }
}

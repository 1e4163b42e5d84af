//! The three bounds, proven on this very machine before the host takes a delivery.
//!
//! Each of them can be off without a sign: fuel by a flag, the epoch by a ticker that never started, the wall clock by a guest that never
//! gives its thread back. So at every start a component that loops for ever is run three times, each time with two bounds out of reach,
//! and must be ended by the third within a second.

use std::{sync::Arc, time::Duration};

use wasmtime::{
    Engine, Trap,
    component::{Component, Linker},
};

use super::{
    Gate,
    gate::Overlay,
    invoke::{Allowance, armed_store},
    state::State,
    wasi::Wasi,
};
use crate::{
    clock::Clock,
    delivery::{DeliveryId, LegId, TenantId, Timestamp},
};

/// The encoding of `probe.wat`.
pub(super) const PROBE: &[u8] =
    b"\0asm\x0d\0\x01\0\x01'\0asm\x01\0\0\0\x01\x04\x01`\0\0\x03\x02\x01\0\x07\x08\x01\x04spin\0\0\x0a\x09\x01\x07\0\
      \x03@\x0c\0\x0b\x0b\x02\x04\x01\0\0\0\x06\x0a\x01\0\0\x01\0\x04spin\x07\x05\x01@\0\x01\0\x08\x06\x01\0\0\0\0\0\
      \x0b\x0a\x01\0\x04spin\x01\0\0";
/// How long one bound may take.
const BOUND: Duration = Duration::from_secs(1);
/// The wall clock of the third probe.
const WALL: Duration = Duration::from_millis(50);
/// Out of reach: centuries of work or of ticks.
const BEYOND: u64 = u64::MAX / 2;

/// Proves the bounds; the error names the one that failed.
pub(super) async fn prove(engine: &Engine, probe: &Component, clock: &Clock) -> anyhow::Result<()> {
    let allowance = Allowance { fuel: BEYOND, memory_bytes: 0, hostcall_bytes: 0, wall: BOUND, ticks: BEYOND };
    let trapped_by = |end: Option<wasmtime::Error>, trap: Trap| end.and_then(|error| error.downcast_ref::<Trap>().copied()) == Some(trap);

    let end = spin(engine, probe, Allowance { fuel: 1_000_000, ..allowance }).await?;
    anyhow::ensure!(trapped_by(end, Trap::OutOfFuel), "fuel does not stop an endless loop within {BOUND:?}");
    let end = spin(engine, probe, Allowance { ticks: 3, ..allowance }).await?;
    anyhow::ensure!(trapped_by(end, Trap::Interrupt), "the epoch does not stop an endless loop within {BOUND:?}: does its ticker run?");
    let began = clock.instant();
    let end = spin(engine, probe, Allowance { wall: WALL, ..allowance }).await?;
    let took = clock.instant().saturating_duration_since(began);
    anyhow::ensure!(end.is_none(), "the wall clock of {WALL:?} does not stop an endless loop");
    if took > BOUND {
        // That the bound works is proved; how late it came tells how busy the machine is, and a host must start on a busy one.
        tracing::warn!(expected_s = WALL.as_secs_f64(), took_s = took.as_secs_f64(), "wall_clock_late");
    }
    Ok(())
}

/// Runs the probe; none where the wall clock ended it.
async fn spin(engine: &Engine, probe: &Component, allowance: Allowance) -> anyhow::Result<Option<wasmtime::Error>> {
    let mut store = armed_store(engine, idle_state(&allowance)?, &allowance)?;
    let endless = async {
        let instance = Linker::new(engine).instantiate_async(&mut store, probe).await?;
        instance.get_typed_func::<(), ()>(&mut store, "spin")?.call_async(&mut store, ()).await
    };
    match tokio::time::timeout(allowance.wall, endless).await {
        Ok(Ok(())) => anyhow::bail!("the endless loop of the self-test came to an end"),
        Ok(Err(error)) => Ok(Some(error)),
        Err(_) => Ok(None),
    }
}

/// The state of a run that is about nothing and reaches nothing.
fn idle_state(allowance: &Allowance) -> anyhow::Result<State> {
    let start = Timestamp::from_unix_ms(0);
    let leg = LegId { delivery: DeliveryId::from_bytes([0; 16]), plugin: "self-test".parse()? };
    let overlay = Overlay::new(Gate::Dry, TenantId::default_tenant(), leg, start, WALL);
    Ok(State::new(overlay, Wasi::new(start, 0), Arc::default(), allowance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_the_encoding_of_its_text() {
        assert_eq!(wat::parse_str(include_str!("probe.wat")).unwrap(), PROBE);
    }
}

use wasmtime::Engine;
use crate::clock::Clock;
pub(super) async fn prove(_engine: &Engine, _clock: &Clock) -> anyhow::Result<()> { Ok(()) }

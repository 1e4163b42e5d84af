use crate::clock::Clock;
use wasmtime::Engine;
pub(super) async fn prove(_engine: &Engine, _clock: &Clock) -> anyhow::Result<()> {
    Ok(())
}

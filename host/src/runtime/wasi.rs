//! WASI, linked and powerless.
//!
//! Toolchains import WASI whether the plugin's author uses it or not, so all of WASI 0.2 is linked over an empty context: no files, no
//! environment, no arguments, no sockets. What would make two runs of the same delivery differ is replaced: the wall clock stands at the
//! recorded start, monotonic time passes by being read or waited for, waiting is over at once, and randomness follows from (delivery,
//! plugin, attempt). Standard output goes to the run's log. The context is made when a guest first asks for it; most never do.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::{
    Result,
    component::{HasData, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{
        DynPollable, OutputStream, Pollable, StreamResult,
        bindings::{
            clocks::{monotonic_clock, wall_clock},
            random::{insecure, insecure_seed, random},
        },
        subscribe,
    },
};

use super::state::State;
use crate::delivery::{Digest, Timestamp};

/// Resources a run may hold: streams and pollables.
const RESOURCES_MAX: usize = 1_000;
/// How much monotonic time passes by reading it.
const READ_NS: u64 = 1_000;
/// Bytes of one read of randomness, and of standard output not yet turned into log lines.
const BYTES_MAX: usize = 64 * 1024;

/// What a run sees of WASI.
pub(super) struct Wasi {
    context: Option<WasiCtx>,
    table: ResourceTable,
    output: Output,
    started_at: Timestamp,
    monotonic_ns: u64,
    random: u64,
}

/// Standard output and standard error, shared with the streams handed to the guest.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Written>>);

/// Runs of bytes, each with the level of the stream it came by, in order.
type Written = Vec<(&'static str, Vec<u8>)>;

/// One of the two.
#[derive(Clone)]
struct Stream {
    level: &'static str,
    output: Output,
}

/// A wait that is over.
struct Passed;

/// The accessor of the replaced interfaces.
struct Replaced;

impl HasData for Replaced {
    type Data<'a> = &'a mut Wasi;
}

impl Wasi {
    /// WASI for a run that started at `started_at`, with randomness from `seed`.
    pub(super) fn new(started_at: Timestamp, seed: u64) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self { context: None, table, output: Output::default(), started_at, monotonic_ns: 0, random: seed }
    }

    /// Takes what was written to standard output and error since the last time, as (level, line).
    pub(super) fn take_output(&mut self) -> Vec<(&'static str, String)> {
        if self.context.is_none() {
            return Vec::new();
        }
        let written = std::mem::take(&mut *self.output.0.lock().unwrap_or_else(PoisonError::into_inner));
        let lines = |(level, bytes): (&'static str, Vec<u8>)| {
            String::from_utf8_lossy(&bytes)
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(|line| (level, line.to_owned()))
                .collect::<Vec<_>>()
        };
        written.into_iter().flat_map(lines).collect()
    }

    fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): every seed gives a full period, and nothing here is a secret.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|len| *len <= BYTES_MAX);
        let Some(len) = len else { wasmtime::bail!("asked for more than {BYTES_MAX} random bytes at once") };
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next_random().to_le_bytes());
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    fn passed(&mut self) -> Result<Resource<DynPollable>> {
        let passed = self.table.push(Passed)?;
        subscribe(&mut self.table, passed)
    }
}

/// Links all of WASI 0.2, then puts our clocks and randomness in place of its own.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    wall_clock::add_to_linker::<State, Replaced>(linker, |state| &mut state.wasi)?;
    monotonic_clock::add_to_linker::<State, Replaced>(linker, |state| &mut state.wasi)?;
    random::add_to_linker::<State, Replaced>(linker, |state| &mut state.wasi)?;
    insecure::add_to_linker::<State, Replaced>(linker, |state| &mut state.wasi)?;
    insecure_seed::add_to_linker::<State, Replaced>(linker, |state| &mut state.wasi)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The seed of a run's randomness.
pub(super) fn seed(delivery: &[u8], plugin: &str, attempt: u32) -> u64 {
    let digest = Digest::of(&[delivery, plugin.as_bytes(), &attempt.to_le_bytes()]);
    digest.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { context, table, output, .. } = &mut self.wasi;
        let ctx = context.get_or_insert_with(|| {
            WasiCtxBuilder::new()
                .stdout(Stream { level: "info", output: output.clone() })
                .stderr(Stream { level: "warn", output: output.clone() })
                .build()
        });
        WasiCtxView { ctx, table }
    }
}

impl wall_clock::Host for Wasi {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let ms = u64::try_from(self.started_at.unix_ms()).unwrap_or(0);
        let nanoseconds = u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000;
        Ok(wall_clock::Datetime { seconds: ms / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for Wasi {
    fn now(&mut self) -> Result<u64> {
        self.monotonic_ns = self.monotonic_ns.saturating_add(READ_NS);
        Ok(self.monotonic_ns)
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(READ_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        self.monotonic_ns = self.monotonic_ns.max(when);
        self.passed()
    }

    fn subscribe_duration(&mut self, ns: u64) -> Result<Resource<DynPollable>> {
        self.monotonic_ns = self.monotonic_ns.saturating_add(ns);
        self.passed()
    }
}

impl random::Host for Wasi {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.next_random())
    }
}

impl insecure::Host for Wasi {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.next_random())
    }
}

impl insecure_seed::Host for Wasi {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.next_random(), self.next_random()))
    }
}

#[async_trait]
impl Pollable for Passed {
    async fn ready(&mut self) {
        // A guest that polls in a circle must still let the wall clock be looked at.
        tokio::task::yield_now().await;
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
        let bytes = &bytes[..bytes.len().min(BYTES_MAX.saturating_sub(kept))];
        match written.last_mut() {
            Some((level, last)) if *level == self.level => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => written.push((self.level, bytes.to_vec())),
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BYTES_MAX)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

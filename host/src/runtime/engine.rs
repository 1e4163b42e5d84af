//! The one engine, its allocator and its ticker.
//!
//! Everything that decides what compiled code looks like is set in [`code_config`], which the compile child uses too: code of another
//! configuration does not load. How instances are allocated does not change the code, so only the host adds it.

use std::time::Duration;

use anyhow::Context as _;
use wasmtime::{Cache, Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::limiter::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// Time between two epochs: how often a guest gives the thread back, and how late an interrupt may be.
pub(super) const TICK: Duration = Duration::from_millis(8);
/// Bytes of a memory slot that stay resident between runs, where the kernel tells which pages a run has written (`PAGEMAP_SCAN`, Linux 6.7 and
/// newer): enough for a usual guest to run without a page fault, and to be reset without one core having to interrupt the others. Less where all
/// slots together would keep more than the host has for that: as shipped there are 260 slots, 65 MiB where all have been used.
const RESIDENT_BYTES: usize = 256 * 1024;
/// The same where it does not: the lowest addresses are kept then, whether a run has written them or not.
const RESIDENT_LOW_BYTES: usize = 64 * 1024;
/// The same of a table.
const RESIDENT_TABLE_BYTES: usize = 4 * 1024;
/// What stays resident is whole pages.
const PAGE_BYTES: u64 = 4 * 1024;
/// Frames of a backtrace.
const BACKTRACE_FRAMES_MAX: std::num::NonZeroUsize = std::num::NonZeroUsize::new(16).expect("16 is not zero");

/// An engine and the name of its allocator.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    pub(super) allocator: &'static str,
    #[cfg(test)]
    cache: Option<Cache>,
}

impl Sandbox {
    /// Sets the engine up for so many runs at once, of whose memory at most `resident_bytes_max` stay resident between runs. With a cache it
    /// has no compiler: what is not kept there is not compiled here. Where the
    /// address space does not hold the pool, it says so and allocates on demand.
    pub(super) fn new(concurrency_max: usize, resident_bytes_max: u64, cache: Option<&Cache>) -> anyhow::Result<Self> {
        let mut config = code_config();
        config.enable_compiler(cache.is_none()).cache(cache.cloned());
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(concurrency_max, resident_bytes_max)));
        let (engine, allocator) = match Engine::new(&config) {
            Ok(engine) => (engine, "pooling"),
            Err(error) => {
                tracing::warn!(concurrency_max, error = %format!("{error:#}"), "instance_pool_not_reserved");
                config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
                (Engine::new(&config)?, "on_demand")
            }
        };
        start_ticker(&engine)?;
        Ok(Self {
            engine,
            allocator,
            #[cfg(test)]
            cache: cache.cloned(),
        })
    }

    #[cfg(test)]
    pub(super) fn cache_hits(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_hits)
    }
}

/// The part of the configuration that decides what compiled code looks like.
pub(super) fn code_config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // A run is a function of its inputs: the two places where the machine shows through are closed.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Threads are not even compiled in: wasmtime's feature is off.
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX))
        .max_wasm_stack(512 * 1024)
        .async_stack_size(1024 * 1024);
    config
}

fn pool(concurrency_max: usize, resident_bytes_max: u64) -> PoolingAllocationConfig {
    // One more than the semaphore lets in: the self-test must not take a run's place.
    let runs = u32::try_from(concurrency_max).unwrap_or(u32::MAX).saturating_add(1);
    let memories = runs.saturating_mul(MEMORIES_MAX);
    let tables = runs.saturating_mul(TABLES_MAX);
    let wanted = if PoolingAllocationConfig::is_pagemap_scan_available() { RESIDENT_BYTES } else { RESIDENT_LOW_BYTES };
    let (of_memory, of_table) = resident(wanted, (memories, tables), resident_bytes_max);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_core_instances(runs.saturating_mul(INSTANCES_MAX))
        .total_memories(memories)
        .total_tables(tables)
        .total_stacks(runs)
        .total_gc_heaps(runs)
        .max_core_instances_per_component(INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        // Adapters and shared libraries bring tables of their own.
        .max_tables_per_module(4)
        .max_memories_per_module(2)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        // A slot that a component has left is found again by the same component with its image in place. With fewer that wait than there are,
        // most runs on a host with hundreds of different plugins would map theirs anew.
        .max_unused_warm_slots(memories)
        .linear_memory_keep_resident(of_memory)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(of_table);
    pool
}

/// What stays resident of each memory and of each table, so that all of them together keep no more than `bytes_max`: nine parts of ten for the
/// memories, the tenth for the tables.
fn resident(wanted: usize, (memories, tables): (u32, u32), bytes_max: u64) -> (usize, usize) {
    let each = |share: u64, count: u32, wanted: usize| {
        let most = share / u64::from(count.max(1)) / PAGE_BYTES * PAGE_BYTES;
        usize::try_from(most).unwrap_or(usize::MAX).min(wanted)
    };
    (each(bytes_max / 10 * 9, memories, wanted), each(bytes_max / 10, tables, RESIDENT_TABLE_BYTES))
}

/// One OS thread an engine: a ticker that were a task would wait behind the very guests it is to interrupt. It ends with its engine.
fn start_ticker(engine: &Engine) -> anyhow::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("epoch-ticker".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .context("the epoch ticker cannot be started")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_resident_between_runs_fits_a_small_container_however_many_runs_it_may_make() {
        let bytes_max = 64 << 20;
        for runs in [1, 65, 1025] {
            let (memories, tables) = (runs * MEMORIES_MAX, runs * TABLES_MAX);
            let (of_memory, of_table) = resident(RESIDENT_BYTES, (memories, tables), bytes_max);
            let all = of_memory as u64 * u64::from(memories) + of_table as u64 * u64::from(tables);
            assert!(all <= bytes_max, "{runs} runs keep {all} bytes");
            assert!(of_memory <= RESIDENT_BYTES && of_memory % 4096 == 0);
        }
        let (of_memory, of_table) = resident(RESIDENT_BYTES, (260, 1040), 1 << 30);
        assert_eq!((of_memory, of_table), (RESIDENT_BYTES, RESIDENT_TABLE_BYTES), "a larger machine keeps what is worth it");
    }
}

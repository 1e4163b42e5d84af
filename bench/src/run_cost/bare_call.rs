//! The bare side: what anyone would write who embeds wasmtime with its limits on, and stops there.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use hookyard::{delivery::Delivery, runtime::Run};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store, UpdateDeadline,
    component::{Component, HasSelf, Linker},
};

use super::{
    CONCURRENCY_MAX,
    bindings::{
        WebhookHandler, WebhookHandlerPre,
        exports::hookyard::plugin::handler,
        hookyard::plugin::{config, emit, http, kv, log, once, secrets, types},
    },
};

/// Time between two epochs, as the host has it.
const TICK: Duration = Duration::from_millis(8);
/// Fuel between two yields, as the host has it.
const YIELD_FUEL: u64 = 1_000_000;

/// A component, ready to be called.
pub(super) struct Bare {
    engine: Engine,
    pre: WebhookHandlerPre<State>,
    delivery: Arc<Delivery>,
    id: String,
    config: Arc<serde_json::Value>,
    fuel: u64,
    started_at_ms: u64,
}

/// What a store holds: the plugin's configuration, and nothing to write to.
struct State {
    config: Arc<serde_json::Value>,
}

impl Bare {
    /// Compiles and links the component. A WASI function that it calls traps: a shipped plugin calls none.
    pub(super) fn new(wasm: &[u8], run: &Run) -> anyhow::Result<Self> {
        let engine = engine()?;
        let component = Component::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        WebhookHandler::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = WebhookHandlerPre::new(linker.instantiate_pre(&component)?)?;
        let bytes = run.delivery.document.len() as u64;
        Ok(Self {
            engine,
            pre,
            id: run.delivery.id.to_string(),
            delivery: Arc::clone(&run.delivery),
            config: Arc::clone(&run.config),
            fuel: run.budget.fuel.saturating_add(run.budget.fuel_per_body_byte.saturating_mul(bytes)),
            started_at_ms: u64::try_from(run.started_at.unix_ms()).unwrap_or(0),
        })
    }

    /// A fresh store, an instance, one call.
    pub(super) async fn call(&self) -> anyhow::Result<&'static str> {
        let mut store = Store::new(&self.engine, State { config: Arc::clone(&self.config) });
        store.set_fuel(self.fuel)?;
        store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store.set_epoch_deadline(1);
        let plugin = self.pre.instantiate_async(&mut store).await?;
        match plugin.hookyard_plugin_handler().call_handle(&mut store, self.envelope()).await? {
            types::Verdict::Ack => Ok("ack"),
            types::Verdict::Skip(_) => Ok("skip"),
            other => bail!("the plugin was to handle the push, and the bare call ended in {other:?}"),
        }
    }

    fn envelope(&self) -> handler::Delivery<'_> {
        let delivery = &*self.delivery;
        handler::Delivery {
            id: &self.id,
            provider_id: &delivery.provider_id,
            tenant: delivery.tenant.as_str(),
            source: delivery.source.as_str(),
            event: &delivery.event,
            action: delivery.action.as_deref(),
            attempt: 1,
            generation: 0,
            received_at_ms: u64::try_from(delivery.received_at.unix_ms()).unwrap_or(0),
            started_at_ms: self.started_at_ms,
            sequence: delivery.sequence,
            content_type: delivery.encoding.content_type(),
            headers: &[],
            document: &delivery.document,
            extensions: &[],
        }
    }
}

/// The settings of `hookyard::runtime`'s engine; a difference here would be measured as a difference there.
fn engine() -> anyhow::Result<Engine> {
    let runs = u32::try_from(CONCURRENCY_MAX)?;
    let resident_bytes = if PoolingAllocationConfig::is_pagemap_scan_available() { 256 * 1024 } else { 64 * 1024 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_core_instances(runs * 64)
        .total_memories(runs * 4)
        .total_tables(runs * 16)
        .total_stacks(runs)
        .max_tables_per_module(4)
        .max_memories_per_module(2)
        .table_elements(100_000)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_unused_warm_slots(runs * 4)
        .linear_memory_keep_resident(resident_bytes)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(4 * 1024);
    let mut settings = Config::new();
    settings
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .max_wasm_stack(512 * 1024)
        .async_stack_size(1024 * 1024)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&settings)?;
    let weak = engine.weak();
    let ticker = std::thread::Builder::new().name("epoch-ticker".to_owned());
    ticker
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .context("the epoch ticker cannot be started")?;
    Ok(engine)
}

impl types::Host for State {}

impl log::Host for State {
    fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl config::Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        let value = key.split('.').try_fold(&*self.config, |table, part| table.get(part))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn document(&mut self) -> String {
        self.config.to_string()
    }
}

impl kv::Host for State {
    fn get(&mut self, _: String) -> Result<Option<Vec<u8>>, kv::Error> {
        Ok(None)
    }

    fn set(&mut self, _: String, _: Vec<u8>, _: Option<u64>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn delete(&mut self, _: String) -> Result<(), kv::Error> {
        Ok(())
    }
}

impl once::Host for State {
    fn begin(&mut self, _: String) -> Result<once::Step, once::Error> {
        Ok(once::Step::Begun)
    }

    fn finish(&mut self, _: String, _: Vec<u8>) -> Result<(), once::Error> {
        Ok(())
    }
}

impl emit::Host for State {
    fn publish(&mut self, _: String, _: String, _: Vec<u8>) -> Result<(), emit::Error> {
        Ok(())
    }
}

impl secrets::Host for State {
    fn hmac_sha256(&mut self, _: String, _: Vec<u8>) -> Result<Vec<u8>, secrets::Error> {
        Err(secrets::Error::Denied("the bare call has no secrets".to_owned()))
    }

    fn verify_hmac_sha256(&mut self, _: String, _: Vec<u8>, _: Vec<u8>) -> Result<bool, secrets::Error> {
        Err(secrets::Error::Denied("the bare call has no secrets".to_owned()))
    }
}

impl http::Host for State {
    fn send(&mut self, _: http::Request) -> Result<http::Response, http::Error> {
        Err(http::Error::Denied("the bare call has no network".to_owned()))
    }
}

//! Compilation, bounded.
//!
//! A compile thread cannot be killed, a hostile component can make the compiler eat gigabytes, and a fault of the compiler would be a fault
//! of the host. So a child of the host's own executable compiles, closed up (`child.rs`); the host takes its code through a pipe, keeps it
//! under its own eyes (`kept.rs`) and loads it from there, which is quick. While a digest is being compiled a marker of its name lies in the
//! cache (`marker.rs`).
//!
//! Starting a child costs more than loading what was compiled before, so a digest that once went well is loaded without one from then on: a
//! host with hundreds of plugins is back in seconds. Compiling takes turns: one tenant has one compilation at a time, never the last free
//! place of all, and only so much of the compiler's time an hour (`hour.rs`). Loading takes no such turn.

mod cell;
mod child;
mod hour;
mod kept;
mod marker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::JoinError};
use wasmtime::{Cache, Engine, component};

pub use self::child::compile_child;
#[cfg(test)]
pub(super) use self::child::in_cell;
use self::{
    cell::Bounds,
    hour::Hours,
    kept::{Kept, Place, Written},
    marker::Marker,
};
use super::{Account, AdmissionError, Again, Compiler, Settings, Turn, engine::code_config};
use crate::{
    clock::Clock,
    delivery::Digest,
    shares::{Holder, Pool, Resource, Threads},
};

/// The one place that compiles.
pub(super) struct Workshop {
    settings: Settings,
    kept: Option<Arc<Kept>>,
    /// A folder of our own, where none was named and a child compiles.
    _own: Option<tempfile::TempDir>,
    /// Code is loaded one at a time: together it could be more than memory holds.
    loading: Semaphore,
    /// The digests that somebody is working on. Tenants have plugins in common; the same bytes are compiled once, and a marker has one owner.
    alone: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    hours: Hours,
    clock: Clock,
}

/// The time of one compilation, charged when it ends, however it ends.
struct Charge<'a> {
    hours: &'a Hours,
    pool: &'a Pool,
    holder: Holder,
    clock: &'a Clock,
    began: Instant,
}

impl Workshop {
    /// Makes the cache folder, readable by this user only.
    pub(super) fn new(settings: Settings, clock: Clock) -> anyhow::Result<Self> {
        let is_child = matches!(settings.compiler, Compiler::Child(_));
        let own = (settings.cache_dir.is_none() && is_child).then(|| tempfile::Builder::new().prefix("hookyard-").tempdir()).transpose()?;
        let dir = settings.cache_dir.as_deref().or(own.as_ref().map(tempfile::TempDir::path));
        let kept = dir.map(Kept::open).transpose()?.map(Arc::new);
        Ok(Self { settings, kept, _own: own, loading: Semaphore::new(1), alone: Mutex::default(), hours: Hours::default(), clock })
    }

    /// The cache of the engine that loads; none where nothing is kept, and that engine compiles by itself.
    pub(super) fn cache(&self) -> anyhow::Result<Option<Cache>> {
        self.kept.as_ref().map(|kept| kept.cache()).transpose()
    }

    /// A turn at the compiler.
    pub(super) async fn turn(&self, account: Account) -> Turn {
        let held = self.settings.shares.pool(Resource::CompileSlots).take(&account.holder(), 1).await;
        Turn { account, _held: held }
    }

    /// A component of ours, compiled in this process.
    pub(super) fn trusted(&self, engine: &Engine, wasm: &[u8]) -> anyhow::Result<component::Component> {
        if let Some(kept) = &self.kept {
            let place = kept.place(engine, wasm, Digest::of(&[wasm]));
            if !place.is_sound() {
                place.keep(compile_here(kept, wasm, self.bounds())?)?;
            }
        }
        Ok(component::Component::from_binary(engine, wasm)?)
    }

    /// Compiles a component, or loads what was compiled before.
    pub(super) async fn component(&self, engine: &Engine, wasm: Bytes, turn: &Turn) -> Result<component::Component, AdmissionError> {
        let threads = self.settings.shares.threads(turn.account.holder());
        let Some(kept) = &self.kept else { return self.compile_and_load(engine, wasm, &threads).await };
        let digest = Digest::of(&[&wasm]);
        let alone = self.alone(digest);
        let alone = alone.lock().await;
        let looked = {
            let (kept, engine, wasm) = (Arc::clone(kept), engine.clone(), wasm.clone());
            threads.run(move || {
                let place = kept.place(&engine, &wasm, digest);
                let is_sound = place.is_sound();
                (place, is_sound)
            })
        };
        let (place, is_sound) = looked.await.map_err(panicked)?;
        if !is_sound {
            self.fill(kept, &place, (&wasm, digest), turn).await?;
        }
        drop(alone);
        self.load(engine, wasm, place, &threads).await
    }

    /// What whoever works on this digest holds.
    fn alone(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.strong_count() > 0);
        all.get(&digest).and_then(Weak::upgrade).unwrap_or_else(|| {
            let one = Arc::default();
            all.insert(digest, Arc::downgrade(&one));
            one
        })
    }

    /// Compiles, and keeps what came of it.
    async fn fill(&self, kept: &Arc<Kept>, place: &Place, (wasm, digest): (&Bytes, Digest), turn: &Turn) -> Result<(), AdmissionError> {
        self.may_work_for(&turn.account)?;
        let mut marker = Marker::lay(kept.dir(), digest)?;
        let charge = self.charge(&turn.account);
        let (bounds, threads) = (self.bounds(), self.settings.shares.threads(turn.account.holder()));
        let written = match &self.settings.compiler {
            Compiler::Child(program) => cell::compile(program, (wasm, bounds), (kept, &mut marker), &threads).await?,
            Compiler::InProcess => {
                let (kept, wasm) = (Arc::clone(kept), wasm.clone());
                let compiling = threads.run(move || compile_here(&kept, &wasm, bounds));
                let compiled = tokio::time::timeout(bounds.timeout, compiling).await.map_err(|_| bounds.timed_out())?.map_err(panicked)?;
                compiled.map_err(|error| AdmissionError::new("compile_failed", format!("{error:#}")))?
            }
        };
        drop(charge);
        let place = place.clone();
        let is_kept = threads.run(move || place.keep(written)).await.map_err(panicked)?;
        is_kept.map_err(|error| AdmissionError::new("compile_failed", format!("the code cannot be kept: {error}")))?;
        marker.acquit();
        Ok(())
    }

    /// Loads what is kept. The engine has no compiler, so what does not load is told and not compiled here.
    async fn load(&self, engine: &Engine, wasm: Bytes, place: Place, threads: &Threads) -> Result<component::Component, AdmissionError> {
        let _one = self.loading.acquire().await.ok();
        let engine = engine.clone();
        let loaded = threads.run(move || {
            let loaded = component::Component::from_binary(&engine, &wasm);
            if loaded.is_err() {
                place.forget();
            }
            loaded
        });
        loaded
            .await
            .map_err(panicked)?
            .map_err(|error| AdmissionError::new("compile_failed", format!("the compiled code does not load: {error:#}")))
    }

    /// Where nothing is kept: in this process, on a thread of its own.
    async fn compile_and_load(&self, engine: &Engine, wasm: Bytes, threads: &Threads) -> Result<component::Component, AdmissionError> {
        let engine = engine.clone();
        let compiling = threads.run(move || component::Component::from_binary(&engine, &wasm));
        let bounds = self.bounds();
        let compiled = tokio::time::timeout(bounds.timeout, compiling).await.map_err(|_| bounds.timed_out())?.map_err(panicked)?;
        compiled.map_err(|error| AdmissionError::new("compile_failed", format!("{error:#}")))
    }

    /// Whether there is compile time left for this account; what was served before is never refused for it.
    fn may_work_for(&self, account: &Account) -> Result<(), AdmissionError> {
        let Account::Tenant(tenant) = account else { return Ok(()) };
        let now = self.clock.instant();
        let may = self.hours.may(self.settings.shares.pool(Resource::CompileTime), &account.holder(), now);
        may.map_err(|used_up| {
            let (used_s, bound_s) = (used_up.full.used / 1000, used_up.full.bound / 1000);
            let wait = Duration::from_secs(used_up.again.saturating_duration_since(now).as_secs() + 1);
            let whose = match used_up.full.whose {
                crate::shares::Whose::Share => format!("the tenant {tenant} has"),
                crate::shares::Whose::All => "all tenants together have".to_owned(),
            };
            let detail = format!(
                "{whose} used {used_s} s of {bound_s} s of the compiler's time within the last hour; it is tried again by itself in {wait:?}"
            );
            AdmissionError { again: Some(Again::At(used_up.again)), ..AdmissionError::new("compile_time_used_up", detail) }
        })
    }

    fn charge(&self, account: &Account) -> Charge<'_> {
        let pool = self.settings.shares.pool(Resource::CompileTime);
        Charge { hours: &self.hours, pool, holder: account.holder(), clock: &self.clock, began: self.clock.instant() }
    }

    fn bounds(&self) -> Bounds {
        Bounds { memory_bytes: self.settings.compile_memory_bytes_max, timeout: self.settings.compile_timeout }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let now = self.clock.instant();
        self.hours.spend(self.pool, &self.holder, now, now.saturating_duration_since(self.began));
    }
}

/// Compiles in this process, for tests and for what is ours.
fn compile_here(kept: &Kept, wasm: &[u8], bounds: Bounds) -> anyhow::Result<Written> {
    let code = Engine::new(&code_config())?.precompile_component(wasm)?;
    Ok(kept.write(&mut &code[..], bounds.code_bytes_max())?)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn panicked(panic: JoinError) -> AdmissionError {
    AdmissionError::new("compile_failed", format!("the compiler panicked: {panic}"))
}

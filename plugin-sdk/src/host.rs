//! Where host calls go: to the host in WebAssembly, to [`testing`](crate::testing) anywhere else. The one place that knows the difference.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::hookyard::plugin::{config, emit, http, kv, log, once, secrets};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host::{config, emit, http, kv, log, once, secrets};

//! The contract of `wit/plugin.wit` as Rust, generated; as the host has it, but for imports that cannot fail.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::pedantic, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "webhook-handler",
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: false },
});

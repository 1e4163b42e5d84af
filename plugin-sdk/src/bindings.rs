//! The contract in `wit/`, as Rust. Generated; the rest of the crate wraps it, so that a plugin never meets a generated name.

#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated: the canonical ABI is raw memory, and the documents are those of `wit/plugin.wit`"
)]

wit_bindgen::generate!({
    world: "webhook-handler",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export_handler",
});

/// What a plugin exports beside its handler, if it wants to: a world of its own, because an export of a world is never optional.
pub mod validating {
    wit_bindgen::generate!({
        inline: "package hookyard:validating; world validating { export hookyard:plugin/lifecycle@0.1.0; }",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
}

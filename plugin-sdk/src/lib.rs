//! What a Hookyard plugin imports.
//!
//! **Delivery is at least once.** A plugin may run more than once for one delivery: after `retry`, after a trap or a deadline, after a crash of
//! the host, and when an operator replays it. What does *not* repeat: `kv` writes and emitted events of a run count only when that run's
//! `ack` or `skip` is committed, all together, and an emitted event that is published twice carries the same id twice. What *can* repeat is
//! anything done outside meanwhile; [`once`] remembers such steps. [`Delivery::id`] is the same in every run and is the key to use with
//! systems that deduplicate.
//!
//! ```no_run
//! use hookyard_sdk::{Delivery, Verdict, emit, github::Push};
//!
//! hookyard_sdk::plugin!(handle);
//!
//! fn handle(delivery: Delivery) -> Verdict {
//!     match delivery.json::<Push>() {
//!         Ok(push) if push.branch() == Some("main") => match emit::json("pushed", &push.after) {
//!             Ok(()) => Verdict::ack(),
//!             Err(error) => Verdict::retry(error.to_string()),
//!         },
//!         Ok(_) => Verdict::skip("not the main branch"),
//!         Err(error) => Verdict::reject(error.to_string()),
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! A run has no clock but [`Delivery::started_at_ms`], no randomness and no files: the same delivery, configuration and host answers give the
//! same verdict, which is what makes replay worth something. Outside WebAssembly the host calls of this crate go to the stand-in of
//! [`testing`], so a plugin is tested with plain `cargo test`.

#![deny(missing_docs)]

#[doc(hidden)]
pub mod bindings;
pub mod config;
mod delivery;
pub mod emit;
pub mod github;
mod host;
pub mod http;
pub mod kv;
pub mod log;
pub mod notify;
mod once;
pub mod secrets;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

pub use delivery::{Delivery, DocumentError};
pub use once::{OnceError, Step, once, step};
pub use verdict::{IntoVerdict, Verdict};

/// Makes `fn handle(delivery: Delivery) -> Verdict` the plugin's export, or `-> Result<Verdict, E>` with an error that knows its verdict:
/// `Result<Verdict, Verdict>` takes every error of this crate with `?`, and a text means `retry`.
///
/// With `validate = check` the host asks `fn check() -> Result<(), Vec<String>>` what it thinks of the configuration before a version serves; one
/// it objects to is not taken, and `hookyard plugins show` tells why.
///
/// Written once, in a crate with `crate-type = ["cdylib", "rlib"]`. On other targets than WebAssembly it only checks the function's type.
#[macro_export]
macro_rules! plugin {
    ($handle:path, validate = $validate:path) => {
        $crate::plugin!($handle);

        const _: () = {
            struct Validated;

            impl $crate::bindings::validating::exports::hookyard::plugin::lifecycle::Guest for Validated {
                fn validate_config() -> ::core::result::Result<(), ::std::vec::Vec<::std::string::String>> {
                    $validate()
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::validating::export_lifecycle!(Validated with_types_in $crate::bindings::validating);
        };
    };
    ($handle:path) => {
        const _: () = {
            struct Plugin;

            impl $crate::bindings::exports::hookyard::plugin::handler::Guest for Plugin {
                fn handle(
                    delivery: $crate::bindings::hookyard::plugin::types::Delivery,
                ) -> $crate::bindings::hookyard::plugin::types::Verdict {
                    $crate::__run($handle, delivery)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export_handler!(Plugin with_types_in $crate::bindings);
        };
    };
}

/// Behind [`plugin!`]: wraps the delivery, and lets a panic leave its message and place in the attempt's log before it traps. The field `panic`
/// tells the host that this line is the reason.
#[doc(hidden)]
pub fn __run<V: IntoVerdict>(
    handle: fn(Delivery) -> V,
    delivery: bindings::hookyard::plugin::types::Delivery,
) -> bindings::hookyard::plugin::types::Verdict {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string(), &[("panic", "true")])));
    handle(Delivery::from(delivery)).into_verdict().into()
}

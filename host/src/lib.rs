//! Hookyard: a WebAssembly plugin host for webhook handlers.
//!
//! A module imports only from floors below its own; siblings never meet. `cargo xtask tidy` reads this table and holds it.
//!
//! | floor | module | owns | sole user of |
//! |---|---|---|---|
//! | 8 | `cli` | arguments, exit codes, human output | clap |
//! | 7 | `app` | joins the parts; start and drain order | |
//! | 6 | `config` | file shape → checked settings; reload | |
//! | 5 | `ingest` `work` `admin` | request → Receipt or Refusal · lease → Settlement · API, health, metrics | hyper (ingest), axum (admin) |
//! | 4 | `catalog` | loaded plugins: watch, admit, swap | notify |
//! | 3 | `broker` `runtime` | queue traits and engines · engine, bindings, budget, one invocation → Outcome | wasmtime (runtime) |
//! | 2 | `tenants` `observe` | per-tenant values · facts = metric + log line | prometheus-client, tracing-subscriber (observe) |
//! | 1 | `signature` `ledger` | verification schemes · durable store | hmac (signature), rusqlite (ledger) |
//! | 0 | `delivery` `clock` `tasks` | the vocabulary · time · named background tasks | |

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod broker;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod ingest;
pub mod ledger;
pub mod observe;
pub mod runtime;
pub mod signature;
pub mod tasks;
pub mod tenants;
pub mod work;

//! Hookyard: a WebAssembly plugin host for webhook handlers.
//!
//! A module imports only from floors below its own; siblings never meet. `cargo xtask tidy` reads this table and holds it.
//!
//! | floor | module | owns | sole user of |
//! |---|---|---|---|
//! | 9 | `cli` | arguments, exit codes, human output | clap |
//! | 8 | `app` | joins the parts; start and drain order | |
//! | 7 | `config` | file shape → checked settings; reload | |
//! | 6 | `ingest` `work` `admin` `streams` | request → Receipt or Refusal · lease → Settlement · API, health, metrics · onlookers | hyper (ingest and cli/client and egress and broker/amqp/management and listen), axum (admin), redis (streams) |
//! | 5 | `catalog` | loaded plugins: watch, admit, swap | notify |
//! | 4 | `broker` `runtime` | queue traits and engines · engine, bindings, budget, one invocation → Outcome | wasmtime (runtime), lapin (broker) |
//! | 3 | `tenants` `observe` | per-tenant values · facts = metric + log line | prometheus-client, tracing-subscriber (observe) |
//! | 2 | `egress` `ledger` `listen` `meter` | the one way out · durable store · connections of the listeners · rates by key | hickory-resolver (egress), rusqlite (ledger) |
//! | 1 | `cidr` `clock` `confine` `folder` `shares` `signature` `tasks` | blocks of addresses · time · what a process gives up · files of folders that others write to · bounds and shares of what is used together · verification schemes · named background tasks | hmac (signature), landlock seccompiler (confine) |
//! | 0 | `delivery` `text` | the vocabulary · foreign words made harmless | |

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod broker;
pub mod catalog;
pub mod cidr;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confine;
pub mod delivery;
pub mod egress;
pub mod folder;
pub mod ingest;
pub mod ledger;
pub mod listen;
pub mod meter;
pub mod observe;
pub mod runtime;
pub mod shares;
pub mod signature;
pub mod streams;
pub mod tasks;
pub mod tenants;
pub mod text;
pub mod work;

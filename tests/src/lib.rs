//! The language of the system tests: what scenarios share.

pub mod contract;

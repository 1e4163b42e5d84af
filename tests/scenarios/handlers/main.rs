//! Every shipped plugin in a whole host, against a GitHub and a chat on real sockets.
//!
//! The server holds each call against GitHub's own description of its API, and changes its repository as asked; the tests look at what the
//! repository is afterwards, once after one delivery and once after the same thing was delivered again.

mod alerts;
mod deployments;
mod examples;
mod faults;
mod issues;
mod pulls;
mod server;
mod setup;

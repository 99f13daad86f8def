//! An HTTP server of trained runs, and a page on which one watches them read.
//!
//! [`ServedModel`] is a run that is loaded, [`Server`] answers requests about several of them. All predictions are
//! made on one thread, which takes together what waits in a bounded queue; everything around it, such as
//! connections, limits and pictures that are decoded, runs beside it. docs/serve.md shows each request.
//!
//! # Layout
//! - `config`, `api_key`: limits, and the key that clients show
//! - `served_model`, `step_stream`, `queue`: what is served, and the thread that predicts
//! - `number_list`, `sequences`, `picture`, `body`, `line_reader`, `unknown_parameters`, `url_name`: what requests hold,
//!   read and checked
//! - `http_error`, `event_body`, `events`: errors as JSON, answers that go on
//! - `metrics`: counters in the form that Prometheus reads
//! - `app`: what all requests share
//! - `classify`, `infer`, `infer_request`, `infer_tensors`, `steps`, `stream`, `generate`, `about`, `openapi`: the answers
//! - `routes`, `server`: which answer a request gets, and connections
//! - `write_deadline`, `error_bodies`: clients that do not read, and such as send no HTTP

mod about;
mod api_key;
mod app;
mod body;
mod classify;
mod config;
mod error_bodies;
mod event_body;
mod events;
mod generate;
mod http_error;
mod infer;
mod infer_request;
mod infer_tensors;
mod line_reader;
mod metrics;
mod number_list;
mod openapi;
mod picture;
mod queue;
mod routes;
mod sequences;
mod served_model;
mod server;
mod step_stream;
mod steps;
mod stream;
mod unknown_parameters;
mod url_name;
mod write_deadline;

pub use api_key::ApiKey;
pub use config::ServeConfig;
pub use served_model::ServedModel;
pub use server::Server;

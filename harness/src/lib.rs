//! Everything around the backend.
//!
//! | module | one sentence |
//! |---|---|
//! | [`socketio`] | a thin Socket.IO client that can also misbehave |
//! | [`users`] | simulated users: one connection each, with a state of their own |
//! | [`recorder`] | collects what happens in a run, in one list with times |
//! | [`recording`] | files that hold a run: written while it goes, opened without a backend |
//! | [`compare`] | two recordings beside each other, above the noise floor |
//! | [`environment`] | which backend runs, where its files are, and what is swept afterwards |
//! | [`world`] | an environment, a node, a recorder and users by name: what a scenario plays in |
//! | [`control`] | the control server: the interface in a browser and the WebSocket it talks through |
//! | [`host`] | world and control server together, as `serve` and the desktop shell start them |
//! | [`scenario`] | scenario files: reading, checking, running |
//! | [`history`] | a run's events by message, user and conversation |
//! | [`audit`] | checks a run's history against the promises |
//! | `health` | figures of the backend's health, once a second |
//! | [`ledger`] | what is promised while something has a fault, against what happened |
//! | [`cost`] | what a run cost itself |
//! | [`stored`] | reads what the store holds, for the audit |
//! | [`latency`] | percentiles and histograms of a run |
//! | [`services`] | the simulated media and search services, with faults |
//! | [`load`] | open-model load and the search for the capacity |
//! | [`matrix`] | who may do what, asked of a running backend and held against a table |
//! | [`viewer`] | a recording in the interface, without a backend |
//! | [`report`] | terminal, JSON, JUnit and HTML reports |
//!
//! **Invariant:** knows `ackscope-protocol` and `ackscope-core`, never the interface or the shell.

pub mod audit;
pub mod chaos;
pub mod compare;
pub mod control;
pub mod cost;
pub mod environment;
pub mod faults;
#[cfg(test)]
mod fixtures;
mod health;
pub mod history;
pub mod host;
mod judge;
pub mod latency;
pub mod ledger;
pub mod load;
pub mod matrix;
pub mod recorder;
pub mod recording;
mod records;
pub mod report;
pub mod scenario;
pub mod services;
pub mod socketio;
pub mod stored;
pub mod users;
pub mod viewer;
pub mod world;

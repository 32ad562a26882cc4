//! The interface of Ackscope: simulated users, the timeline of their messages, and everything about the one that is
//! selected.
//!
//! | module | knows |
//! |---|---|
//! | [`connection`] | the control connection to the harness |
//! | [`state`] | what happened, reduced from trace events; nothing of egui |
//! | [`views`] | how it is shown; one module for each view |
//! | [`theme`] | every colour, size and distance |
//! | [`dock`] | the panes, and how they are laid out |
//! | [`app`] | what ties them together: frames, commands, keys |
//! | [`status`] | what is drawn, as a text for automation and screen readers |
//! | [`fake`] | a harness in memory, for tests and for looking at the interface alone |
//!
//! **Invariant:** of the rest of Ackscope, only `ackscope-protocol` is known here.

pub mod app;
pub mod connection;
pub mod dock;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
pub mod format;
pub mod state;
pub mod status;
pub mod theme;
pub mod views;

#[cfg(target_arch = "wasm32")]
pub mod web;

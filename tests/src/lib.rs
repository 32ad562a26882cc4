//! Ackscope.

pub mod node;

pub mod contract;

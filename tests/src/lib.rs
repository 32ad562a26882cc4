//! Ackscope.

pub mod node;

pub mod people;

pub mod contract;

pub mod screen;

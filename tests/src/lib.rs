//! Ackscope.

pub mod faulty;

pub mod node;

pub mod people;

pub mod contract;

pub mod screen;

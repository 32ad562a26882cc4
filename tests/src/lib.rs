//! Ackscope.

pub mod docker;

pub mod faulty;

pub mod files;

pub mod interface;

pub mod node;

pub mod people;

pub mod replica_set;

pub mod contract;

pub mod servers;

pub mod screen;

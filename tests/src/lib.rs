//! Ackscope.

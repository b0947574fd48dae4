//! Pintle deploys, supervises and heals the application on one small board.
//!
//! > Thinking rooms turn events into actions. Hands carry the actions out and bring back events. One table joins
//! > them, one diary remembers.

pub mod base;
pub mod config;

pub mod backup;
pub mod delivery;
pub mod deploy;
pub mod health;
pub mod notify;
pub mod supervise;

pub mod control;
pub mod daemon;
pub mod listener;
pub mod os;
pub mod runtime;
pub mod store;

pub mod cli;

//! The hands: everything that touches processes, files, sockets and sensors.
//!
//! Each file is one kind of hand. Hands carry out and report; they never decide. Their errors carry what was tried,
//! on which path, why it failed and - where there is one - what to do.

pub mod alive;
pub mod backup;
pub mod cancel;
pub mod certificate;
pub mod cgroup;
pub mod clock;
pub mod command;
pub mod confine;
pub mod connections;
pub mod fdstore;
pub mod file_watch;
pub mod files;
pub mod git;
pub mod group;
pub mod host;
pub mod instances;
pub mod limits;
pub mod lock;
pub mod logfile;
pub mod memory;
mod message;
pub mod network;
pub mod notify;
pub mod outbound;
pub mod output;
pub mod poll;
pub mod private_tmp;
pub mod probe;
pub mod process;
pub mod program;
pub mod reap;
pub mod reexec;
pub mod releases;
pub mod round_trip;
pub mod scribe;
pub mod sensors;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod sweeper;
pub mod systemd;
pub mod tail;
pub mod unit;
pub mod usage;
pub mod users;

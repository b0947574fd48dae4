//! The hands: everything that touches processes, files, sockets and sensors.
//!
//! Each file is one kind of hand. Hands carry out and report; they never decide. Their errors carry what was tried,
//! on which path, why it failed and - where there is one - what to do.

pub mod backup;
pub mod cancel;
pub mod command;
pub mod files;
pub mod users;

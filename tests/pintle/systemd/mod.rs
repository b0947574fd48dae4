//! Pintle under the real systemd: what the unit promises is kept by both of them together.
//!
//! Each test boots a machine of its own (`machine`: half a second) on a cached Debian (`debian`), with Pintle installed
//! as the package does it (`furniture`) and a shop that `visitors` never cease to visit. They need root, debootstrap
//! and systemd-container, so they are ignored by default; `.ci/run` runs them one after the other.

pub mod debian;
pub mod furniture;

mod board;
mod machine;
mod visitors;

mod crashes;
mod groups;
mod health;
mod orders;
mod readiness;
mod trouble;

//! The daemon: one table that every event comes to and every action leaves from.
//!
//! `turn` decides - pure, with `world` as its memory and `event`/`action` as its language; `boot` builds the world from
//! the diary and the disk, `report` shows it to people. Around it the hands: the loop waits, `act` carries out,
//! `workers` do what takes long, `doors` serve the two sockets,
//! `figures` ask the kernel for what they show. Line: before the loop the daemon may die with an
//! explanation, inside it it may not.

pub mod action;
pub mod boot;
pub mod doors;
pub mod event;
mod event_loop;
mod figures;
pub mod hands;
pub mod hub;
pub mod journal;
pub mod post;
pub mod report;
pub mod run;
pub mod seen;
#[cfg(test)]
mod simulation;
mod survivors;
pub mod turn;
pub mod work;
pub mod world;

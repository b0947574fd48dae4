//! Which processes should run, and what is to be done about the difference.
//!
//! [`instance`] is the machine of one instance, [`notice`] what a process says of itself, [`backoff`] how long a crashed
//! one waits; [`services`] compares what is wanted of an app with what is there and asks for the next steps (order of
//! services, handover between releases), [`routes`] remembers where clients are sent; [`agenda`] says when the app's
//! scheduled commands run, [`calendar`] when the clock shows a time. Line: pure. Time comes in as a value, the next deadline goes out; `daemon` spawns, signals and reaps.

pub mod agenda;
pub mod backoff;
pub mod calendar;
pub mod instance;
pub mod notice;
pub mod routes;
pub mod services;

pub use agenda::Agenda;
pub use instance::{Deed, Input, Instance, State};
pub use services::{Order, Services, Slot, Survivor, Target};

//! What it means to run an app: its directories, its environment, its processes, its ports.
//!
//! [`place`] knows where things of an app are, [`environment`] what a process of it sees, [`process`] starts one,
//! [`confinement`] what one may use and what is left of it.
//! Apps that are systemd units, compose or swarm projects get their files here beside `process`. Line: hands; when
//! something is started or stopped is decided in `supervise` and `deploy`.

pub mod confinement;
pub mod environment;
pub mod place;
pub mod ports;
pub mod process;

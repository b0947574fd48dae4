//! What it means to run an app: its directories, its environment, its processes, its ports.
//!
//! [`place`] knows where things of an app are, [`environment`] what a process of it sees, [`process`] starts one,
//! [`confinement`] says what one may use and clears what is left of it;
//! [`ports`] holds what is listened on, [`nginx`] tells clients which port it is now.
//! Apps that are systemd units, compose or swarm projects get their files here beside `process`. Line: hands; when
//! something is started or stopped is decided in `supervise` and `deploy`.

pub mod confinement;
pub mod environment;
pub mod nginx;
pub mod place;
pub mod ports;
pub mod process;

//! Pintle from the outside: real git, real processes, real sockets.
//!
//! One binary, a world of its own for each test (see `world`). Each module is a part of what users may rely on.
//! Tests wait for conditions with a deadline, never for a length of time. The long ones - 200 crashes, 500 power
//! cuts - and those that need a program beside Rust and git are ignored by default: `cargo test --test pintle -- --ignored`.

mod world;

mod adoption;
mod adoption_mid_deploy;
mod backups;
mod board;
mod broken_into;
mod changes;
mod check;
mod cli;
mod deliveries;
mod deploy;
mod doctor;
mod examples;
mod forges;
mod gates;
mod health;
mod health_history;
mod hostile;
mod listener;
mod live_log;
mod messages;
mod nginx;
mod openapi;
mod polling;
mod power_cut;
mod queue;
mod readiness;
mod recovery;
mod reexec;
mod rooms;
mod schedules;
mod steps;
mod supervise;
mod systemd;
mod tls;
mod trouble;
mod under_load;
mod verbs;
mod virtual_machine;
mod watchdog;
mod wear;
mod wild_children;

//! The guard: one thread that owns every public connection and admits whole, strictly parsed, bounded requests only.

#![allow(dead_code, unused_imports)] // The parts come before the loop that joins them.

mod tls;
mod wire;

pub use tls::Material;

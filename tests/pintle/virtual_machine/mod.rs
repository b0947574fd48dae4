//! Pintle on a whole machine, kernel included: what no container has - memory that is limited, and a plug to pull.
//!
//! QEMU emulates it without help of the host's processor, so it is slow: about a quarter of a minute to boot. Few tests,
//! each worth a boot. They need root, debootstrap and qemu, so they are ignored by default; `.ci/run` runs them.

mod emulator;

mod memory;
mod power;

//! (room: listener)

//! (room: supervise)

//! (room: backup)

//! (room: notify)

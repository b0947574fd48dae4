//! (room: deploy)

//! What a backup is: its name, what goes in, what its manifest says, what may be reused, what is kept.
//!
//! A backup is a directory `backups/YYYYMMDD_HHMMSS-NNNNNN/` holding `files/` and `manifest.json`. Line: nothing here
//! touches a file; the hands that do are in `os::backup`.

pub mod keep;
pub mod manifest;
pub mod name;
pub mod path;
pub mod roots;
pub mod unchanged;

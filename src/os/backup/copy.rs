//! One file's bytes from here to there, hashed on the way.

use crate::backup::manifest::Checksum;
use crate::os::cancel::Cancel;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Small enough for a 512 MB board, large enough that an SD card streams.
const BLOCK: usize = 128 * 1024;

/// Fills `to` (empty, at its beginning) with what `from` holds and tells its size and checksum. Shares the blocks where
/// the file system can (btrfs, XFS), keeps holes where there were holes.
pub(super) fn copy(from: &mut File, to: &mut File, cancel: &Cancel) -> io::Result<(u64, Checksum)> {
    if reflink(from, to) {
        return hash(to, cancel);
    }
    let meta = from.metadata()?;
    let sparse = meta.blocks() * 512 < meta.size();
    let mut hash = Sha256::new();
    let mut size = 0;
    blocks(from, cancel, &mut |block| {
        hash.update(block);
        size += block.len() as u64;
        match sparse && block.iter().all(|byte| *byte == 0) {
            true => to.seek(SeekFrom::Current(block.len() as i64)).map(drop),
            false => to.write_all(block),
        }
    })?;
    to.set_len(size)?;
    Ok((size, Checksum(hash.finalize().into())))
}

/// Size and checksum of what `file` holds from where it stands.
pub(super) fn hash(file: &mut File, cancel: &Cancel) -> io::Result<(u64, Checksum)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    blocks(file, cancel, &mut |block| {
        hash.update(block);
        size += block.len() as u64;
        Ok(())
    })?;
    Ok((size, Checksum(hash.finalize().into())))
}

fn blocks(file: &mut File, cancel: &Cancel, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    loop {
        if cancel.is_cancelled() {
            return Err(super::cancelled());
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => each(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes `to` share all blocks of `from`, both keeping their own content from then on. Works within one file system
/// that knows how; anything else leaves `to` untouched.
fn reflink(from: &File, to: &File) -> bool {
    /// `_IOW(0x94, 9, int)` in the encoding of x86, ARM and RISC-V.
    const FICLONE: u32 = 0x4004_9409;
    // SAFETY: FICLONE takes two descriptors, both open for the whole call, and touches no memory of ours.
    unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.as_raw_fd()) == 0 }
}

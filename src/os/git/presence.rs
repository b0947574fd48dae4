//! Whether a repository has an object, answered without starting git: a delivery mostly names a commit that is new.
//!
//! Reads what git documents in gitformat-pack(5): loose objects are files by their name, packs have an index (version
//! 2) with a fan-out table and sorted names. Line: it says where an object surely is; a repository it cannot read has
//! nothing to say ("perhaps"), and then git itself is asked.

use crate::base::CommitId;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a look at the files tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there.
    Present,
    /// It is not.
    Absent,
    /// The files are not as expected.
    Perhaps,
}

const MAGIC: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];
/// One 32-bit count for each first byte: how many names begin with that byte or a smaller one.
const FAN_OUT: u64 = 256 * 4;

/// Looks for `commit` in the bare repository `git_dir`.
pub(super) fn presence(git_dir: &Path, commit: &CommitId) -> Presence {
    look(&git_dir.join("objects"), commit).unwrap_or(Presence::Perhaps)
}

fn look(objects: &Path, commit: &CommitId) -> io::Result<Presence> {
    let name = commit.as_str();
    let Some((first, rest)) = name.split_at_checked(2) else { return Ok(Presence::Perhaps) };
    if objects.join(first).join(rest).try_exists()? {
        return Ok(Presence::Present);
    }
    if objects.join("info/alternates").try_exists()? {
        return Ok(Presence::Perhaps);
    }
    let Some(name) = bytes(name) else { return Ok(Presence::Perhaps) };
    let packs = match fs::read_dir(objects.join("pack")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Presence::Absent),
        packs => packs?,
    };
    for entry in packs {
        let path = entry?.path();
        let is_index = path.extension().is_some_and(|extension| extension == "idx");
        if is_index && is_in_pack(&File::open(&path)?, &name)? {
            return Ok(Presence::Present);
        }
    }
    Ok(Presence::Absent)
}

/// A binary search among the names that begin with the same byte.
fn is_in_pack(index: &File, name: &[u8]) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    index.read_exact_at(&mut magic, 0)?;
    let Some(first) = name.first().copied().filter(|_| magic == MAGIC) else {
        return Err(io::Error::new(ErrorKind::InvalidData, "not an index of version 2"));
    };
    let names = MAGIC.len() as u64 + FAN_OUT;
    let (mut low, mut high) = match first.checked_sub(1) {
        None => (0, count_up_to(index, first)?),
        Some(before) => (count_up_to(index, before)?, count_up_to(index, first)?),
    };
    let mut found = vec![0; name.len()];
    while low < high {
        let middle = low + (high - low) / 2;
        index.read_exact_at(&mut found, names + middle * name.len() as u64)?;
        match found.as_slice().cmp(name) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Ok(true),
        }
    }
    Ok(false)
}

fn count_up_to(index: &File, byte: u8) -> io::Result<u64> {
    let mut count = [0; 4];
    index.read_exact_at(&mut count, MAGIC.len() as u64 + u64::from(byte) * 4)?;
    Ok(u64::from(u32::from_be_bytes(count)))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    hex.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::git::fixture::{Origin, Scratch, git};

    fn nowhere() -> CommitId {
        CommitId::new("00c0ffee".repeat(5)).unwrap()
    }

    #[test]
    fn loose_and_packed_objects_are_found_and_others_are_not() {
        let scratch = Scratch::new();
        let origin = Origin::new(scratch.path("origin"));
        let git_dir = origin.0.join(".git");
        let mut commits = vec![];
        for n in 0..40 {
            commits.push(origin.commit(&[("a", &n.to_string())]));
            if n % 10 == 5 {
                git(&origin.0, &["repack", "-q", "-d"]);
            }
        }
        let packs = fs::read_dir(git_dir.join("objects/pack")).unwrap().count();
        assert!(packs >= 8, "several packs with their indexes, and loose objects: {packs}");
        for commit in &commits {
            assert_eq!(presence(&git_dir, commit), Presence::Present);
        }
        let mut absent = 0;
        for commit in &commits {
            let turned: String = commit.as_str().chars().rev().collect();
            absent += usize::from(presence(&git_dir, &CommitId::new(turned).unwrap()) == Presence::Absent);
        }
        assert_eq!((absent, presence(&git_dir, &nowhere())), (commits.len(), Presence::Absent));
    }

    #[test]
    fn longer_names_are_found_too() {
        let scratch = Scratch::new();
        let path = scratch.path("origin");
        fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main", "--object-format=sha256"]);
        git(&path, &["commit", "-q", "--allow-empty", "-m", "one"]);
        let commit = Origin(path.clone()).head();
        for packed in [false, true] {
            if packed {
                git(&path, &["repack", "-q", "-a", "-d"]);
                git(&path, &["prune-packed"]);
            }
            assert_eq!(presence(&path.join(".git"), &commit), Presence::Present, "packed: {packed}");
        }
        let other = CommitId::new("00c0ffee".repeat(8)).unwrap();
        assert_eq!(presence(&path.join(".git"), &other), Presence::Absent);
    }

    #[test]
    fn what_cannot_be_read_leaves_the_question_to_git() {
        let scratch = Scratch::new();
        let git_dir = scratch.path("odd.git");
        let pack = git_dir.join("objects/pack");
        fs::create_dir_all(&pack).unwrap();
        assert_eq!(presence(&git_dir, &nowhere()), Presence::Absent);
        for damaged in [&b""[..], b"\xfftOc\0\0\0\x03", b"PACK"] {
            fs::write(pack.join("pack-1.idx"), damaged).unwrap();
            assert_eq!(presence(&git_dir, &nowhere()), Presence::Perhaps, "{damaged:?}");
        }
        fs::remove_file(pack.join("pack-1.idx")).unwrap();
        fs::create_dir_all(git_dir.join("objects/info")).unwrap();
        fs::write(git_dir.join("objects/info/alternates"), "/elsewhere\n").unwrap();
        assert_eq!(presence(&git_dir, &nowhere()), Presence::Perhaps);
    }
}

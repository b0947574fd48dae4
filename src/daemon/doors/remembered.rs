//! What the diary remembers of delivery ids, for every connection: it is only asked about the few that may have come
//! before.
//!
//! The loop keeps the newest thousand of each app, the diary ten times as many. Of an id that is in neither a filter of
//! 32 KiB (more where the diary holds many) knows so: a push costs no look into the database.

use crate::base::AppName;
use crate::daemon::seen::SeenDelivery;
use crate::store::{Diary, StoreError};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bits of the filter for each id: once it is full, one of twenty new ones is looked up in vain.
const BITS_EACH: usize = 8;
/// There is room for so many ids beside those of the diary: then it is filled anew with those that are still kept.
const ROOM: usize = 32_768;

/// See the module.
#[derive(Debug)]
pub struct Remembered {
    state_dir: PathBuf,
    /// Opened when the first delivery comes.
    looker: Mutex<Option<Looker>>,
}

#[derive(Debug)]
struct Looker {
    diary: Diary,
    ids: Filter,
}

impl Remembered {
    /// Of the diary in `state_dir`.
    pub fn new(state_dir: &Path) -> Remembered {
        Remembered { state_dir: state_dir.to_owned(), looker: Mutex::default() }
    }

    /// What became of this delivery before. From now on its id is known; where the diary cannot be read none is.
    pub(super) fn seen(&self, app: &AppName, id: &str) -> Option<SeenDelivery> {
        let mut looker = self.looker.lock().unwrap_or_else(PoisonError::into_inner);
        if looker.as_ref().is_none_or(|looker| looker.ids.added >= ROOM) {
            *looker = Looker::open(&self.state_dir).ok();
        }
        let looker = looker.as_mut()?;
        if !looker.ids.add(app, id) {
            return None;
        }
        let seen = looker.diary.seen(app, id).ok()??;
        Some(SeenDelivery { deployment: seen.deployment, status: seen.status })
    }
}

impl Looker {
    fn open(state_dir: &Path) -> Result<Looker, StoreError> {
        let (diary, keys, mut kept) = (Diary::open_read_only(state_dir)?, RandomState::new(), vec![]);
        diary.delivery_ids(|app, id| kept.push(hash(&keys, &app, id)))?;
        Ok(Looker { diary, ids: Filter::of(&kept, keys) })
    }
}

/// Says of an id that it was never added, or that it may have been. Whoever sends ids cannot know where they fall.
#[derive(Debug)]
struct Filter {
    bits: Vec<u64>,
    keys: RandomState,
    /// Since it was filled.
    added: usize,
}

fn hash(keys: &RandomState, app: &AppName, id: &str) -> u64 {
    keys.hash_one((app.as_str(), id))
}

impl Filter {
    /// One that holds the ids of these hashes, and has room for more.
    fn of(kept: &[u64], keys: RandomState) -> Filter {
        let bits = ((kept.len() + ROOM) * BITS_EACH).next_power_of_two();
        let mut filter = Filter { bits: vec![0; bits / 64], keys, added: 0 };
        for hash in kept {
            filter.set(*hash);
        }
        filter
    }

    /// Adds an id; whether it may have been added before.
    fn add(&mut self, app: &AppName, id: &str) -> bool {
        let was_there = self.set(hash(&self.keys, app, id));
        self.added += usize::from(!was_there);
        was_there
    }

    fn set(&mut self, hash: u64) -> bool {
        let bits = self.bits.len() * 64;
        let mut was_there = true;
        for place in [hash as usize % bits, (hash >> 32) as usize % bits] {
            let Some(word) = self.bits.get_mut(place / 64) else { continue };
            let bit = 1 << (place % 64);
            was_there &= *word & bit != 0;
            *word |= bit;
        }
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CommitId, DeployId, Moment, WallTime};
    use crate::store::Entry;
    use std::time::Duration;

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    #[test]
    fn what_was_added_is_never_denied_and_what_was_not_is_seldom_suspected() {
        let (mut ids, shop) = (Filter::of(&[], RandomState::new()), app("shop"));
        let added = (0..10_000).filter(|n| !ids.add(&shop, &format!("delivery-{n}"))).count();
        assert!(added > 9_800, "{added}");
        assert!((0..10_000).all(|n| ids.add(&shop, &format!("delivery-{n}"))));
        let suspected = (0..1_000).filter(|n| ids.add(&app("other"), &format!("delivery-{n}"))).count();
        assert!(suspected < 50, "{suspected}");
    }

    #[test]
    fn what_the_diary_holds_leaves_room_for_what_comes() {
        let (keys, shop) = (RandomState::new(), app("shop"));
        let kept: Vec<u64> = (0..40_000).map(|n| hash(&keys, &shop, &format!("kept-{n}"))).collect();
        let mut ids = Filter::of(&kept, keys);
        assert_eq!(ids.added, 0, "a full diary does not make it full");
        assert!((0..40_000).all(|n| ids.add(&shop, &format!("kept-{n}"))));
        let suspected = (0..1_000).filter(|n| ids.add(&shop, &format!("new-{n}"))).count();
        assert!(suspected < 50, "{suspected}");
        assert_eq!(ids.added, 1_000 - suspected);
    }

    #[test]
    fn the_diary_is_asked_about_what_it_holds_and_what_came_since() {
        let dir = std::env::temp_dir().join(format!("pintle-remembered-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let now = Moment { mono: Duration::from_secs(60), wall: WallTime(1_761_336_000_000) };
        let mut diary = Diary::open(&dir, now).unwrap().diary;
        let shop = app("shop");
        let delivery = |id: &str, number| Entry::Delivery {
            id: Some(id.into()),
            app: shop.clone(),
            commit: CommitId::new("c".repeat(40)).ok(),
            deployment: Some(DeployId(number)),
            ignored: None,
            reason: None,
            at: now.wall,
        };
        diary.record(&[delivery("old", 1)]).unwrap();
        let remembered = Remembered::new(&dir);
        let answer = |id: &str| remembered.seen(&shop, id).and_then(|seen| seen.deployment);
        assert_eq!((answer("old"), answer("new")), (Some(DeployId(1)), None));
        diary.record(&[delivery("new", 2)]).unwrap();
        assert_eq!((answer("new"), answer("newer")), (Some(DeployId(2)), None));
        assert_eq!(remembered.seen(&app("other"), "old"), None);
        drop(diary);
        std::fs::remove_dir_all(&dir).unwrap();
        let nowhere = Remembered::new(&dir);
        assert_eq!((nowhere.seen(&shop, "old"), nowhere.seen(&shop, "old")), (None, None));
    }
}

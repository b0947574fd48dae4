//! The diary on disk and the one in memory give the same answers, whatever they are told.

use super::*;
use crate::base::{BackupId, Bytes, ScheduleName, ServiceName};
use crate::control::{BackupReport, DeliveryVerdict, DeliveryView, Ignored, StepReport, StepStatus};
use crate::control::{BoardSample, Figure, Figures, Gauge, Shape};
use crate::health::Resolution;
use crate::health::record::Row;
use crate::notify::Gravity;
use crate::notify::incidents::{self, Incident};
use crate::notify::outbox::{Fact, Outgoing};
use crate::supervise::agenda::{Outcome, Remembered, Run};

/// A small generator of numbers (splitmix64): the same seed gives the same story.
struct Dice(u64, u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len() as u64) as usize]
    }
    fn maybe<T>(&mut self, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| make(self))
    }
    fn app(&mut self) -> AppName {
        app(self.one_of(&["clinic", "labs", "nutrition"]))
    }
    fn number(&mut self) -> DeployId {
        DeployId(1 + self.roll(40))
    }
    fn commit(&mut self) -> CommitId {
        commit(1 + self.roll(6))
    }
    fn release(&mut self) -> ReleaseName {
        release(1 + self.roll(12))
    }
    fn time(&mut self) -> WallTime {
        WallTime(at(0).0 + self.roll(100_000) as i64)
    }
    fn text(&mut self) -> String {
        self.one_of(&["", "it's", "zwölf \"Äpfel\"; DROP TABLE steps", "a\nb\0c"]).to_owned()
    }
    fn service(&mut self) -> ServiceName {
        ServiceName::new(self.one_of(&["web", "worker"])).unwrap()
    }
    fn backup(&mut self) -> BackupId {
        BackupId::new(format!("20251024_20000{}-000042", self.roll(5))).unwrap()
    }

    /// Numbers as high as a year's and beyond, so that slots come round again.
    fn sampled(&mut self) -> Row {
        let resolution = self.one_of(&Resolution::ALL);
        self.1 += 1;
        let number = match resolution {
            Resolution::Minute => self.1,
            _ => self.roll(4) + self.one_of(&[0, resolution.kept(), 7 * resolution.kept()]) + 1,
        };
        let mut gauges = Figures::default();
        for gauge in Gauge::ALL {
            let value = gauge.rounded((self.roll(200_000) as f64 - 50_000.0) / 1000.0);
            let figure = match gauge.shape() {
                Shape::Level => Figure::Level { min: value.min(1.0), mean: value, max: value.max(1.0) },
                Shape::Share => Figure::Share(self.roll(1001) as f64 / 1000.0),
                Shape::Sum => Figure::Sum(self.roll(1 << 40)),
            };
            gauges.0.extend(self.maybe(|_| (*gauge, figure)));
        }
        let (samples, clock_sure) = (self.roll(4) as u32, self.roll(2) == 0);
        if samples == 1 {
            gauges.0.values_mut().for_each(|figure| {
                if let Figure::Level { min, mean, max } = figure {
                    (*min, *max) = (*mean, *mean);
                }
            });
        }
        let at = Resolution::Minute.begin_of(self.time());
        let through = if resolution == Resolution::Minute { number } else { self.roll(50) };
        let sample = BoardSample { at, seconds: self.roll(90_000), samples, clock_sure, gauges };
        Row { resolution, number, through, sample }
    }

    fn outgoing(&mut self) -> Outgoing {
        Outgoing {
            seq: 1 + self.roll(20),
            channel: self.channel(),
            at: self.time(),
            body: self.text().replace('\0', ""),
        }
    }
    fn channel(&mut self) -> String {
        self.one_of(&["slack", "commit_status/clinic"]).to_owned()
    }
    fn about_a_message(&mut self) -> Fact {
        match self.roll(12) {
            0..6 => Fact::Put(self.outgoing()),
            6..9 => Fact::Sent { channel: self.channel(), seq: 1 + self.roll(20), at: self.time() },
            9 => Fact::Dropped { channel: self.channel(), seqs: vec![1 + self.roll(20), 1 + self.roll(20)] },
            10 => {
                let by = self.outgoing();
                Fact::Summarised { seqs: vec![1 + self.roll(20), by.seq], by }
            }
            _ => Fact::ChannelGone { channel: self.channel() },
        }
    }
    fn about_an_incident(&mut self) -> incidents::Fact {
        let subject = self.one_of(&["host/disk", "app/clinic/health"]).to_owned();
        if self.roll(3) == 0 {
            return incidents::Fact::Closed { subject };
        }
        let gravity = self.one_of(&[Gravity::Warning, Gravity::Critical]);
        let (app, what, since) = (self.maybe(Dice::app), self.text().replace('\0', ""), self.time());
        incidents::Fact::Opened(Incident { subject, app, gravity, what, since })
    }

    /// Any entry, mostly one that fits.
    fn entry(&mut self) -> Entry {
        let kinds = [
            0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 18, 19, 20, 20, 21, 21,
            21, 21, 22, 22,
        ];
        match self.one_of(&kinds) {
            0 => Entry::Queued(NewDeployment {
                number: self.number(),
                app: self.app(),
                kind: self.one_of(Kind::ALL),
                requested: self.maybe(Dice::text),
                commit: self.maybe(Dice::commit),
                release: self.maybe(Dice::release),
                status: self.one_of(&[DeployStatus::Queued, DeployStatus::Waiting]),
                trigger: self.one_of(Trigger::ALL),
                forced: self.roll(2) == 0,
                pass: self.one_of(Pass::ALL),
                retry_of: self.maybe(Dice::number),
                message: self.maybe(Dice::text),
                asked: self.time(),
            }),
            20 => Entry::Sampled((0..=self.roll(3)).map(|_| self.sampled()).collect()),
            16 => Entry::Approved { number: self.number() },
            1 => Entry::Phase { number: self.number(), phase: self.one_of(Phase::ALL), at: self.time() },
            2 => {
                let status = self.one_of(DeployStatus::ALL);
                Entry::Status { number: self.number(), status, message: self.maybe(Dice::text) }
            }
            3 => Entry::Release {
                number: self.number(),
                commit: self.commit(),
                release: self.release(),
                previous: self.maybe(Dice::release),
            },
            4 => {
                let step = StepReport {
                    name: self.text(),
                    phase: self.one_of(Phase::ALL),
                    status: self.one_of(StepStatus::ALL),
                    exit: self.maybe(|dice| dice.roll(256) as i32),
                    duration_seconds: self.roll(10_000_000) as f64 / 7000.0,
                };
                Entry::Step { number: self.number(), step, at: self.time() }
            }
            5 => Entry::PassedVerify { number: self.number() },
            6 => Entry::Finished {
                number: self.number(),
                status: self.one_of(DeployStatus::ALL),
                phase: self.one_of(Phase::ALL),
                failed_phase: self.maybe(|dice| dice.one_of(Phase::ALL)),
                message: self.maybe(Dice::text),
                exit: self.roll(256) as u8,
                took: self.maybe(|dice| Duration::from_micros(dice.roll(1_000_000_000))),
                at: self.time(),
            },
            7 => Entry::WentLive {
                app: self.app(),
                release: self.release(),
                commit: self.commit(),
                deployment: self.number(),
                at: self.time(),
            },
            8 => Entry::Delivery {
                id: self.maybe(|dice| format!("id-{}", dice.roll(9))),
                app: self.app(),
                commit: self.maybe(Dice::commit),
                deployment: self.maybe(Dice::number),
                ignored: self.maybe(|dice| dice.one_of(Ignored::ALL)),
                reason: self.maybe(Dice::text),
                at: self.time(),
            },
            9 => {
                let (app, commit, why) = (self.app(), self.commit(), self.text());
                Entry::Quarantine { app, commit, why, deployment: self.maybe(Dice::number), at: self.time() }
            }
            21 => Entry::Post(self.about_a_message()),
            22 => Entry::Incident(self.about_an_incident()),
            10 => Entry::Forgiven { app: self.app(), commit: self.commit() },
            11 => Entry::Wanted { app: self.app(), service: self.maybe(Dice::service), down: self.roll(2) == 0 },
            12 => {
                let report = BackupReport {
                    id: self.backup(),
                    app: self.app(),
                    created: self.time(),
                    bytes: Bytes(self.roll(1 << 40)),
                    bytes_new: Bytes(self.roll(1 << 40)),
                    release: self.maybe(Dice::release),
                    verified: self.maybe(Dice::time),
                    status: self.text(),
                };
                Entry::Backup { report, commit: self.maybe(Dice::commit), deployment: self.maybe(Dice::number) }
            }
            13 => Entry::BackupVerified { app: self.app(), id: self.backup(), at: self.time() },
            15 => Entry::Logged(Box::new(DeliveryView {
                at: self.time(),
                id: self.maybe(Dice::text),
                app: self.maybe(Dice::app),
                trigger: self.one_of(Trigger::ALL),
                event: self.text(),
                wanted: self.maybe(Dice::text),
                verdict: self.one_of(DeliveryVerdict::ALL),
                reason: self.maybe(Dice::text),
                deployment: self.maybe(Dice::number),
                from: self.maybe(Dice::text),
                times: 1 + self.roll(9) as u32,
            })),
            14 => Entry::BackupGone { app: self.app(), id: self.backup(), at: self.time() },
            18 => {
                let outcomes = [Outcome::Well, Outcome::Failed("exit 1".into()), Outcome::Ended("stopped".into())];
                let run = self.maybe(|dice| Run {
                    began: dice.time(),
                    ended: dice.maybe(|dice| {
                        let took = Duration::from_micros(dice.roll(1_000_000_000));
                        (outcomes[dice.roll(3) as usize].clone(), took)
                    }),
                });
                let name = ScheduleName::new(self.one_of(&["digest", "tidy"])).unwrap();
                let row = Remembered { when: self.text(), counted_from: self.time(), run };
                Entry::Scheduled { app: self.app(), name, row }
            }
            19 => Entry::Rebooted { app: self.app(), at: self.time() },
            _ => Entry::Notice { text: self.text(), at: self.time() },
        }
    }
}

#[test]
fn both_diaries_agree_on_random_stories() {
    let only = std::env::var("PINTLE_SEED").ok().map(|seed| seed.parse().expect("PINTLE_SEED is a number"));
    for seed in only.map_or(1..=12, |seed: u64| seed..=seed) {
        println!("PINTLE_SEED={seed}");
        tell_both(seed);
    }
}

fn tell_both(seed: u64) {
    let scratch = Scratch::new();
    let mut dice = Dice(seed, 0);
    let mut memory = Memory::new();
    let mut diary = open_fast(&scratch);
    let (mut kept, mut refused) = (0, 0);
    for _ in 0..150 {
        let batch: Vec<Entry> = (0..=dice.roll(4)).map(|_| dice.entry()).collect();
        let (on_disk, in_memory) = (diary.record(&batch), memory.record(&batch));
        assert_eq!(on_disk, in_memory, "{batch:?}");
        if on_disk.is_ok() {
            kept += 1
        } else {
            refused += 1
        }
        if dice.roll(10) == 0 {
            drop(diary);
            diary = open_fast(&scratch);
        }
        assert_eq!(diary.snapshot().unwrap(), memory.snapshot(), "after {batch:?}");
    }
    assert!(kept > 20 && refused > 20, "the story is about both: {kept} kept, {refused} refused");
    compare_answers(&diary, &memory);
    drop(diary);
    compare_answers(&Diary::open_read_only(scratch.path()).unwrap(), &memory);
}

fn compare_answers(diary: &Diary, memory: &Memory) {
    assert_eq!(diary.snapshot().unwrap(), memory.snapshot());
    assert_eq!(diary.history(None, 1000).unwrap(), memory.history(None, 1000));
    assert_eq!(diary.notices().unwrap(), memory.notices());
    assert_eq!(diary.samples().unwrap(), memory.samples());
    assert_eq!(diary.deliveries(None, 2000).unwrap(), memory.deliveries(None, 2000));
    for number in (0..42).map(DeployId) {
        assert_eq!(diary.show(number).unwrap(), memory.show(number));
    }
    for app in ["clinic", "labs", "nutrition", "unheard-of"].map(app) {
        assert_eq!(diary.history(Some(&app), 5).unwrap(), memory.history(Some(&app), 5));
        assert_eq!(diary.deliveries(Some(&app), 7).unwrap(), memory.deliveries(Some(&app), 7));
        assert_eq!(diary.releases_info(&app).unwrap(), memory.releases_info(&app));
        assert_eq!(diary.backups(&app).unwrap(), memory.backups(&app));
        for id in (0..10).map(|n| format!("id-{n}")) {
            assert_eq!(diary.seen(&app, &id).unwrap(), memory.seen(&app, &id));
        }
    }
}

/// Without fsync: this test is about content, and a thousand syncs are slow.
fn open_fast(scratch: &Scratch) -> Diary {
    let diary = open(scratch);
    diary.connection.pragma_update(None, "synchronous", "OFF").unwrap();
    diary
}

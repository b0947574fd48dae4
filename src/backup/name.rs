//! A backup's name: when it was made and for which deployment.
//!
//! The time is for people; order is decided by the deployment's number first, because numbers only grow and a board
//! without a clock may believe it is 1970. Line: names only.

use crate::base::{BackupId, DeployId, WallTime};

/// The name of the backup made at `created` for `number` that is not `taken`: the second one of a second ends in `-2`.
pub fn free(created: WallTime, number: DeployId, taken: impl Fn(&BackupId) -> bool) -> BackupId {
    let plain = format!("{}-{number}", created.compact());
    let tried = |attempt: u32| match attempt {
        1 => BackupId::new(plain.clone()),
        _ => BackupId::new(format!("{plain}-{attempt}")),
    };
    // A clock outside the years 0 to 9999 has no name of this form: such a backup is named as of 1970.
    (1..)
        .map_while(|attempt| tried(attempt).ok())
        .find(|id| !taken(id))
        .unwrap_or_else(|| free(WallTime(0), number, taken))
}

/// Sorts backups oldest first: by deployment, then by time, then by attempt.
pub fn order(id: &BackupId) -> (DeployId, &str, u32) {
    let mut parts = id.as_str().split('-');
    let time = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let attempt = parts.next().and_then(|digits| digits.parse().ok()).unwrap_or(1);
    (DeployId(number), time, attempt)
}

/// The time a name carries, for a backup whose manifest cannot be read.
pub fn time_of(id: &BackupId) -> Option<WallTime> {
    let t = id.as_str();
    let part = |from: usize, to: usize| t.get(from..to).unwrap_or_default();
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let (hour, minute, second) = (part(9, 11), part(11, 13), part(13, 15));
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> BackupId {
        BackupId::new(text).unwrap()
    }

    #[test]
    fn a_name_tells_time_and_deployment_and_is_never_taken_twice() {
        let time = WallTime(1_761_336_000_000);
        assert_eq!(free(time, DeployId(42), |_| false), id("20251024_200000-000042"));
        let taken = ["20251024_200000-000042", "20251024_200000-000042-2"];
        assert_eq!(free(time, DeployId(42), |id| taken.contains(&id.as_str())), id("20251024_200000-000042-3"));
        assert_eq!(time_of(&id("20251024_200000-000042-3")), Some(time));
        assert_eq!(time_of(&id("20251099_200000")), None);
        assert_eq!(free(WallTime(i64::MAX), DeployId(1), |_| false).as_str(), "19700101_000000-000001");
    }

    #[test]
    fn deployments_decide_the_order_whatever_the_clock_said() {
        let mut ids = [
            id("20990101_000000-000003"),
            id("19700101_000010-000004"),
            id("20251024_200000-000003-10"),
            id("20251024_200000-000003-2"),
            id("20251024_200000-000003"),
            id("20251024_200000"),
        ];
        ids.sort_by(|a, b| order(a).cmp(&order(b)));
        let sorted: Vec<&str> = ids.iter().map(BackupId::as_str).collect();
        assert_eq!(
            sorted,
            [
                "20251024_200000",
                "20251024_200000-000003",
                "20251024_200000-000003-2",
                "20251024_200000-000003-10",
                "20990101_000000-000003",
                "19700101_000010-000004"
            ]
        );
    }
}

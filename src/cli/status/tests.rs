//! The exact text of `status`, from hand-made reports.

use super::*;
use crate::base::{DeployId, WallTime};
use crate::control::{DaemonView, RunState, ScheduleRunView};

fn instance(pid: Option<u32>, state: RunState, last_exit: Option<&str>) -> InstanceView {
    InstanceView {
        says: None,
        pid,
        state,
        uptime_seconds: pid.map(|_| 7800),
        restarts: u64::from(last_exit.is_some()) * 12,
        memory_bytes: pid.map(|_| 50_541_363),
        memory_max_bytes: pid.filter(|pid| *pid == 1234).map(|_| 256 << 20),
        cpu_seconds: pid.map(f64::from),
        last_exit: last_exit.map(str::to_owned),
        release: "000042-4f2a1c9".parse().unwrap(),
    }
}

fn service(name: &str, state: RunState, instances: Vec<InstanceView>) -> ServiceView {
    ServiceView { service: name.parse().unwrap(), state, instances }
}

fn channel(name: &str, waiting: usize, trouble: Option<&str>) -> ChannelView {
    ChannelView {
        channel: name.into(),
        kind: name.into(),
        on: true,
        waiting,
        sent: 4,
        dropped: 0,
        last_sent: None,
        trouble: trouble.map(str::to_owned),
        next: trouble.map(|_| WallTime(1_761_336_000_000)),
    }
}

/// As `Readings` are written; the sensor that this board does not have is left out of the page.
fn readings() -> serde_json::Map<String, serde_json::Value> {
    let readings = serde_json::json!({
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "memory": { "total_bytes": 4_000_000_000_u64, "available_bytes": 3_000_000_000_u64 },
        "cpu": { "busy_percent": 7.4 },
        "temperature_celsius": 48.312,
        "swap": "unsupported",
    });
    readings.as_object().unwrap().clone()
}

#[test]
fn a_page_shows_daemon_host_apps_services_and_probes() {
    let now: WallTime = "2025-10-24T23:00:00Z".parse().unwrap();
    let probe = |name: &str, healthy, message: Option<&str>| ProbeView {
        name: name.into(),
        healthy,
        message: message.map(str::to_owned),
        output: message.filter(|_| healthy == Some(false)).map(|_| "HTTP 500\nTraceback\n  boom".to_string()),
    };
    let report = StatusReport {
        incidents: vec![IncidentView {
            about: "host/temperature".into(),
            app: None,
            critical: true,
            what: "the processor is at 83 °C".into(),
            since: now,
        }],
        notify: vec![channel("slack", 0, None), channel("ntfy", 3, Some("no answer in 30s"))],
        dns: Some(DnsView {
            name: "clinic.duckdns.org".into(),
            last: Some(now),
            ok: Some(true),
            message: None,
            next: None,
        }),
        daemon: DaemonView { pid: 812, version: "0.1.0".into(), uptime_seconds: 273_600 },
        listener: ListenerView {
            pid: Some(815),
            address: Some("127.0.0.1:9000".into()),
            state: ListenerState::Up,
            tls: Some(TlsView {
                kind: "self-signed".into(),
                fingerprint: Some("A1:B2".into()),
                expires: Some("2027-07-01T00:00:00Z".parse().unwrap()),
            }),
        },
        host: Box::new(HostView {
            hostname: "cupboard".into(),
            uptime_seconds: 1_036_800,
            disk_free_bytes: Some(12 << 30),
            disk_total_bytes: Some(29 << 30),
            sensed: Some(now),
            findings: vec![FindingView {
                about: "under-voltage".into(),
                level: "critical".into(),
                what: "under-voltage now".into(),
                advice: "use a better supply".into(),
            }],
            readings: readings(),
        }),
        apps: vec![
            AppView {
                app: "shop".parse().unwrap(),
                state: AppState::Degraded,
                release: Some("000042-4f2a1c9".parse().unwrap()),
                commit: None,
                deploying: Some(DeployId(43)),
                waiting: vec![
                    WaitingView {
                        number: DeployId(44),
                        commit: Some("4f2a1c9d".into()),
                        reason: "waits for its window 02:00-05:00 (opens 2025-10-25 02:00)".into(),
                        until: Some(now.plus(Duration::from_secs(3 * 3600))),
                    },
                    WaitingView {
                        number: DeployId(45),
                        commit: None,
                        reason: "waits for its turn".into(),
                        until: None,
                    },
                ],
                poll: Some(PollView {
                    last: Some(WallTime(1_761_336_000_000)),
                    ok: Some(false),
                    result: Some("look at branch main of /srv/shop.git: no route to host\nmore".into()),
                    next: Some(WallTime(1_761_336_300_000)),
                }),
                probes: vec![probe("health", Some(true), None), probe("dicom", Some(false), Some("refused\x07\nmore"))],
                schedules: vec![
                    ScheduleView {
                        schedule: "digest".parse().unwrap(),
                        when: "at 03:30".into(),
                        running_seconds: None,
                        last: Some(ScheduleRunView {
                            started: WallTime(1_761_336_000_000),
                            status: "failed".into(),
                            duration_seconds: Some(2.5),
                            message: Some("exit 1".into()),
                        }),
                        next: Some(WallTime(1_761_363_000_000)),
                        left_out: 0,
                    },
                    ScheduleView {
                        schedule: "tidy".parse().unwrap(),
                        when: "every 1d".into(),
                        running_seconds: None,
                        last: None,
                        next: None,
                        left_out: 0,
                    },
                ],
                services: vec![
                    service(
                        "web",
                        RunState::Up,
                        vec![
                            instance(Some(1234), RunState::Up, None),
                            InstanceView {
                                says: Some("3 requests in hand".into()),
                                ..instance(Some(42), RunState::Up, None)
                            },
                        ],
                    ),
                    service("worker", RunState::Backoff, vec![instance(None, RunState::Backoff, Some("exit 1"))]),
                    service("digest", RunState::Down, vec![]),
                ],
            },
            AppView {
                app: "fresh".parse().unwrap(),
                state: AppState::Stopped,
                release: None,
                commit: None,
                deploying: None,
                waiting: vec![],
                poll: Some(PollView { last: None, ok: None, result: None, next: None }),
                probes: vec![probe("health", None, None)],
                schedules: vec![],
                services: vec![],
            },
        ],
        notices: vec!["apps/shop.toml is broken: the last accepted one is used".into()],
    };
    assert_eq!(
        text(&report, &Style::plain(), now),
        "\
pintle 0.1.0 up 3d4h (pid 812), webhook listener up on 127.0.0.1:9000 (pid 815)
cupboard up 12d, disk 12GiB free of 29GiB, memory 25 %, processor 7 %, 48 °C (Raspberry Pi 4 Model B Rev 1.4)
TLS: self-signed until 2027-07-01T00:00:00Z
  SHA-256 A1:B2
! under-voltage now: use a better supply
! apps/shop.toml is broken: the last accepted one is used
critical the processor is at 83 °C (since 2025-10-24 23:00:00)
clinic.duckdns.org: address told 2025-10-24 23:00:00
notify ntfy: 3 waiting, no answer in 30s, next try 2025-10-24 20:00:00

shop: degraded, 000042-4f2a1c9, deployment 000043 under way
  deployment 000044 (4f2a1c9) waits for its window 02:00-05:00 (opens 2025-10-25 02:00); at the earliest in 3h
  deployment 000045 waits for its turn
  SERVICE  STATE     PID  UPTIME  RESTARTS          MEMORY     CPU  LAST EXIT
  web      up       1234   2h10m         0  48.2MiB/256MiB  20m34s  -
           up         42   2h10m         0         48.2MiB   42.0s  -
  worker   backoff     -       -        12               -       -  exit 1
  digest   down        -       -         -               -       -  -
  web (pid 42) says: 3 requests in hand
  branch looked at 2025-10-24 20:00:00: look at branch main of /srv/shop.git: no route to host; next look 2025-10-24 20:05:00
  SCHEDULE  WHEN      LAST RUN             RESULT          TOOK  NEXT RUN
  digest    at 03:30  2025-10-24 20:00:00  failed: exit 1  2.5s  2025-10-25 03:30:00
  tidy      every 1d  -                    -                  -  when the clock is set
  probe health ok
  probe dicom failing: refused
    | HTTP 500
    | Traceback
    |   boom

fresh: stopped, no release yet
  branch not looked at yet, next look when the network comes back
"
    );
}

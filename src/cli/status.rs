//! `status`: what runs now, on one page.

use super::args::AppArgs;
use super::context::{Context, SOON, unexpected};
use super::failure::Failure;
use super::place;
use super::style::{Cell, Style, Table, Tone, Toned};
use crate::base::{Bytes, Moment, Span, WallTime};
use crate::control::{
    Answer, AppState, AppView, ChannelView, DnsView, FindingView, HostView, IncidentView, InstanceView, ListenerState,
    ListenerView, PollView, ProbeView, Request, ScheduleView, ServiceView, StatusReport, TlsView, WaitingView,
};
use std::time::Duration;

/// So many lines of a failed look's output are shown.
const EXCERPT: usize = 8;

/// `pintle status`.
pub fn run(args: &AppArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let app = place::app_or_all(cx, args.app.as_deref())?;
    match cx.ask(&Request::Status { app }, SOON)? {
        Answer::Status(report) => {
            cx.answer(&report, |style| text(&report, style, Moment::now().wall))?;
            Ok(0)
        }
        _ => Err(unexpected()),
    }
}

fn text(report: &StatusReport, style: &Style, now: WallTime) -> String {
    let daemon = &report.daemon;
    let mut text = format!(
        "pintle {} up {} (pid {}), {}\n{}\n",
        daemon.version,
        seconds(daemon.uptime_seconds),
        daemon.pid,
        listener(&report.listener, style),
        host(&report.host)
    );
    text += &report.listener.tls.as_ref().map(certificate).unwrap_or_default();
    for finding in &report.host.findings {
        text += &finding_text(finding, style);
    }
    for notice in &report.notices {
        text += &format!("{} {notice}\n", style.paint(Tone::Bad, "!"));
    }
    for incident in &report.incidents {
        text += &incident_text(incident, style);
    }
    text += &report.dns.as_ref().map(|dns| dns_text(dns, style)).unwrap_or_default();
    text += &report.notify.iter().filter_map(|channel| channel_text(channel, style)).collect::<String>();
    for app in &report.apps {
        text += &format!("\n{}", app_text(app, style, now));
    }
    if report.apps.is_empty() {
        text += "\nno app is configured; `pintle init` writes a first configuration\n";
    }
    text
}

/// What is wrong, as people were told.
fn incident_text(incident: &IncidentView, style: &Style) -> String {
    let (tone, word) = if incident.critical { (Tone::Bad, "critical") } else { (Tone::Busy, "warning") };
    let what = super::history::one_line(&incident.what);
    format!("{} {what} (since {})\n", style.paint(tone, word), style.time(incident.since))
}

/// The name that follows our address, and whether it did so last.
fn dns_text(dns: &DnsView, style: &Style) -> String {
    let Some((last, ok)) = dns.last.zip(dns.ok) else { return format!("{}: address not told yet\n", dns.name) };
    match (ok, &dns.message) {
        (true, _) => format!("{}: address told {}\n", dns.name, style.time(last)),
        (false, why) => {
            let why = super::history::one_line(why.as_deref().unwrap_or_default());
            format!("{}: {} {}: {why}\n", dns.name, style.paint(Tone::Bad, "address not told"), style.time(last))
        }
    }
}

/// A channel that has something to say: what waits for it, or what was given up.
fn channel_text(channel: &ChannelView, style: &Style) -> Option<String> {
    let waits = (channel.waiting > 0).then(|| format!("{} waiting", channel.waiting));
    let dropped = (channel.dropped > 0).then(|| format!("{} dropped", channel.dropped));
    let trouble = channel.trouble.as_deref().map(|why| style.paint(Tone::Bad, &super::history::one_line(why)));
    let next = channel.next.filter(|_| channel.waiting > 0).map(|at| format!("next try {}", style.time(at)));
    let said: Vec<String> = [waits, dropped, trouble, next].into_iter().flatten().collect();
    (!said.is_empty()).then(|| format!("notify {}: {}\n", channel.channel, said.join(", ")))
}

fn listener(listener: &ListenerView, style: &Style) -> String {
    let at = listener.address.as_deref().map(|address| format!(" on {address}")).unwrap_or_default();
    let pid = listener.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    match listener.state {
        ListenerState::Off => "no webhook listener".into(),
        ListenerState::Up => format!("webhook listener {}{at}{pid}", style.paint(Tone::Good, "up")),
        ListenerState::Down => format!("webhook listener {}{at}{pid}", style.paint(Tone::Bad, "down")),
    }
}

/// What whoever trusts this host's certificate compares.
fn certificate(tls: &TlsView) -> String {
    match (&tls.fingerprint, tls.expires) {
        (Some(fingerprint), Some(expires)) => {
            format!("TLS: {} until {expires}\n  SHA-256 {fingerprint}\n", tls.kind.replace("files", "certificate"))
        }
        _ => format!("TLS: {}, no certificate yet\n", tls.kind.replace("files", "certificate")),
    }
}

fn host(host: &HostView) -> String {
    let disk = match (host.disk_free_bytes, host.disk_total_bytes) {
        (Some(free), Some(total)) => format!(", disk {} free of {}", Bytes(free), Bytes(total)),
        _ => String::new(),
    };
    format!("{} up {}{disk}{}", host.hostname, seconds(host.uptime_seconds), board(host))
}

/// The few gauges that people ask for; what the board does not have is left out.
fn board(host: &HostView) -> String {
    let number = |path: [&str; 2]| host.readings.get(path[0])?.get(path[1])?.as_f64();
    let mut text = String::new();
    if let (Some(available), Some(total)) = (number(["memory", "available_bytes"]), number(["memory", "total_bytes"])) {
        text += &format!(", memory {:.0} %", (total - available) * 100.0 / total.max(1.0));
    }
    if let Some(busy) = number(["cpu", "busy_percent"]) {
        text += &format!(", processor {busy:.0} %");
    }
    if let Some(degrees) = host.readings.get("temperature_celsius").and_then(|degrees| degrees.as_f64()) {
        text += &format!(", {degrees:.0} °C");
    }
    match host.readings.get("model").and_then(|model| model.as_str()).filter(|model| *model != "unsupported") {
        Some(model) => format!("{text} ({model})"),
        None => text,
    }
}

fn finding_text(finding: &FindingView, style: &Style) -> String {
    let tone = if finding.level == "critical" { Tone::Bad } else { Tone::Busy };
    format!("{} {}: {}\n", style.paint(tone, "!"), finding.what, finding.advice)
}

fn app_text(app: &AppView, style: &Style, now: WallTime) -> String {
    let mut text = format!(
        "{}: {}",
        style.paint(Tone::Strong, app.app.as_str()),
        style.paint(app.state.tone(), app.state.as_str())
    );
    match &app.release {
        Some(release) => text += &format!(", {release}"),
        None => text += ", no release yet",
    }
    if let Some(number) = app.deploying {
        text += &format!(", deployment {number} under way");
    }
    text.push('\n');
    for waiting in &app.waiting {
        text += &waiting_text(waiting, now);
    }
    if !app.services.is_empty() {
        text += &services(&app.services, style);
    }
    for service in &app.services {
        text += &sayings(service);
    }
    text += &app.poll.as_ref().map(|poll| poll_text(poll, style)).unwrap_or_default();
    if !app.schedules.is_empty() {
        text += &schedules(&app.schedules, style);
    }
    for probe in &app.probes {
        text += &probe_text(probe, app.state, style);
    }
    text
}

/// A deployment that has not begun, and why.
fn waiting_text(waiting: &WaitingView, now: WallTime) -> String {
    let commit = waiting.commit.as_deref().map(|commit| format!(" ({})", super::history::short(commit)));
    let soonest = waiting.until.map(|until| format!("; at the earliest in {}", seconds(until.since(now).as_secs())));
    let (commit, soonest) = (commit.unwrap_or_default(), soonest.unwrap_or_default());
    format!("  deployment {}{commit} {}{soonest}\n", waiting.number, super::history::one_line(&waiting.reason))
}

fn services(services: &[ServiceView], style: &Style) -> String {
    let mut table =
        Table::new(2, &["SERVICE", "STATE", ">PID", ">UPTIME", ">RESTARTS", ">MEMORY", ">CPU", "LAST EXIT"]);
    for service in services {
        let name = |row: usize| if row == 0 { service.service.as_str() } else { "" };
        for (row, instance) in service.instances.iter().enumerate() {
            table.row(instance_row(name(row), instance));
        }
        if service.instances.is_empty() {
            let mut cells = vec![name(0).into(), Cell::toned(service.state, service.state.tone())];
            cells.extend((0..6).map(|_| Cell::or_dash(None::<u8>)));
            table.row(cells);
        }
    }
    table.text(style)
}

/// What runs by the clock: the last run, and the next.
fn schedules(schedules: &[ScheduleView], style: &Style) -> String {
    let mut table = Table::new(2, &["SCHEDULE", "WHEN", "LAST RUN", "RESULT", ">TOOK", "NEXT RUN"]);
    for schedule in schedules {
        let last = schedule.last.as_ref();
        let tone = match last.map(|last| last.status.as_str()) {
            Some("success") => Tone::Good,
            Some("failed") => Tone::Bad,
            _ => Tone::Faint,
        };
        let message = last.and_then(|last| last.message.as_deref()).map(super::history::one_line);
        let result = last.map(|last| message.map_or(last.status.clone(), |why| format!("{}: {why}", last.status)));
        let took = last.and_then(|last| last.duration_seconds).or(schedule.running_seconds);
        table.row(vec![
            schedule.schedule.as_str().into(),
            schedule.when.as_str().into(),
            Cell::or_dash(last.map(|last| style.time(last.started))),
            result.map_or_else(|| Cell::or_dash(None::<u8>), |result| Cell::toned(result, tone)),
            Cell::or_dash(took.map(cpu_time)),
            schedule.next.map_or_else(|| "when the clock is set".into(), |next| style.time(next).as_str().into()),
        ]);
    }
    table.text(style)
}

/// What the instances say of themselves.
fn sayings(service: &ServiceView) -> String {
    let says = service.instances.iter().filter_map(|instance| Some((instance.pid?, instance.says.as_deref()?)));
    says.map(|(pid, says)| format!("  {} (pid {pid}) says: {says}\n", service.service)).collect()
}

fn instance_row(name: &str, instance: &InstanceView) -> Vec<Cell> {
    vec![
        name.into(),
        Cell::toned(instance.state, instance.state.tone()),
        Cell::or_dash(instance.pid),
        Cell::or_dash(instance.uptime_seconds.map(seconds)),
        instance.restarts.into(),
        Cell::or_dash(memory(instance)),
        Cell::or_dash(instance.cpu_seconds.map(cpu_time)),
        Cell::or_dash(instance.last_exit.as_deref()),
    ]
}

/// With the limit the kernel enforces, where there is one.
fn memory(instance: &InstanceView) -> Option<String> {
    let used = Bytes(instance.memory_bytes?);
    Some(instance.memory_max_bytes.map_or_else(|| used.to_string(), |max| format!("{used}/{}", Bytes(max))))
}

/// Tenths below a minute: `3.2s`; then as all durations.
fn cpu_time(spent: f64) -> String {
    if spent < 60.0 { format!("{spent:.1}s") } else { seconds(spent as u64) }
}

fn probe_text(probe: &ProbeView, app: AppState, style: &Style) -> String {
    let verdict = match probe.healthy {
        None if app == AppState::Stopped => return String::new(),
        None => style.paint(Tone::Faint, "not looked yet"),
        Some(true) => style.paint(Tone::Good, "ok"),
        Some(false) => style.paint(Tone::Bad, "failing"),
    };
    let message = match (probe.healthy, &probe.message) {
        (Some(false), Some(message)) => format!(": {}", super::history::one_line(message)),
        _ => String::new(),
    };
    let output = probe.output.as_deref().filter(|_| probe.healthy == Some(false)).unwrap_or_default();
    format!("  probe {} {verdict}{message}\n{}", probe.name, excerpt(output))
}

/// The first lines of what was answered or printed, where there is more than the sentence told.
fn excerpt(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() < 2 {
        return String::new();
    }
    let clean = |line: &&str| line.chars().filter(|c| !c.is_control()).take(160).collect::<String>();
    let mut text: String = lines.iter().take(EXCERPT).map(|line| format!("    | {}\n", clean(line))).collect();
    if lines.len() > EXCERPT {
        text += &format!("    | ... {} lines more in --json\n", lines.len() - EXCERPT);
    }
    text
}

/// When its branch was last looked at, with what result, and when it is next.
fn poll_text(poll: &PollView, style: &Style) -> String {
    let next = match poll.next {
        Some(next) => format!("next look {}", style.time(next)),
        None => "next look when the network comes back".into(),
    };
    let (Some(last), Some(result)) = (poll.last, &poll.result) else {
        return format!("  branch not looked at yet, {next}\n");
    };
    let result = super::history::one_line(result);
    let result = if poll.ok == Some(false) { style.paint(Tone::Bad, &result) } else { result };
    format!("  branch looked at {}: {result}; {next}\n", style.time(last))
}

fn seconds(seconds: u64) -> String {
    Span(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;

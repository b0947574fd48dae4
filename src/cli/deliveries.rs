//! `deliveries`: what came to the webhook listener, and what became of it. For whoever pushed and saw nothing happen.

use super::args::DeliveriesArgs;
use super::context::Context;
use super::failure::Failure;
use super::history::one_line;
use super::style::{Cell, Style, Table, Tone};
use super::{offline, place};
use crate::control::{Answer, DeliveriesReport, DeliveryVerdict, DeliveryView, Request};

/// `pintle deliveries`.
pub fn run(args: &DeliveriesArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let (app, limit) = (place::app_or_all(cx, args.app.as_deref())?, args.limit);
    let report = cx.ask_or_read(
        &Request::Deliveries { app: app.clone(), limit },
        |answer| if let Answer::Deliveries(report) = answer { Some(report) } else { None },
        |paths| offline::deliveries(&paths.state_dir, app.as_ref(), limit),
    )?;
    cx.answer(&report, |style| text(&report, style))?;
    Ok(0)
}

fn text(report: &DeliveriesReport, style: &Style) -> String {
    if report.deliveries.is_empty() {
        return "nothing came yet; `pintle init` prints what to write into the forge's webhook form\n".into();
    }
    let mut table = Table::new(0, &["TIME", "APP", "EVENT", "WANTED", "VERDICT", ">N", "REASON"]);
    for delivery in &report.deliveries {
        table.row(vec![
            style.time(delivery.at).into(),
            Cell::or_dash(delivery.app.as_ref().map(|app| app.as_str())),
            Cell::or_dash(Some(one_line(&delivery.event)).filter(|event| !event.is_empty())),
            Cell::or_dash(delivery.wanted.as_deref().map(wanted)),
            Cell::toned(delivery.verdict.as_str(), tone(delivery.verdict)),
            Cell::or_dash(delivery.deployment.map(|number| number.0.to_string())),
            reason(delivery).into(),
        ]);
    }
    table.text(style)
}

/// A commit shortened, a tag by its name.
fn wanted(wanted: &str) -> &str {
    wanted.strip_prefix("refs/tags/").unwrap_or_else(|| wanted.get(..7).unwrap_or(wanted))
}

fn tone(verdict: DeliveryVerdict) -> Tone {
    match verdict {
        DeliveryVerdict::Accepted => Tone::Good,
        DeliveryVerdict::Ignored => Tone::Faint,
        DeliveryVerdict::Refused => Tone::Bad,
    }
}

fn reason(delivery: &DeliveryView) -> String {
    let why = one_line(delivery.reason.as_deref().unwrap_or_default());
    let from = delivery.from.iter().map(|from| format!(" (from {from})"));
    let times = (delivery.times > 1).then(|| format!(" {} times", delivery.times));
    std::iter::once(why).chain(from).chain(times).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AppName, DeployId, WallTime};
    use crate::control::Trigger;

    #[test]
    fn each_delivery_is_a_line_with_its_verdict_and_reason() {
        let accepted = DeliveryView {
            at: WallTime(1_761_336_000_000),
            id: Some("72d3162e".into()),
            app: AppName::new("shop").ok(),
            trigger: Trigger::Webhook,
            event: "push".into(),
            wanted: Some("4f2a1c9000000000000000000000000000000042".into()),
            verdict: DeliveryVerdict::Accepted,
            reason: None,
            deployment: Some(DeployId(42)),
            from: None,
            times: 1,
        };
        let refused = DeliveryView {
            app: None,
            id: None,
            event: String::new(),
            wanted: None,
            verdict: DeliveryVerdict::Refused,
            reason: Some("bad or missing signature".into()),
            deployment: None,
            from: Some("203.0.113.7".into()),
            times: 3,
            ..accepted.clone()
        };
        let tagged = DeliveryView { wanted: Some("refs/tags/v1.2".into()), ..accepted.clone() };
        let report = DeliveriesReport { deliveries: vec![refused, tagged, accepted] };
        let text = text(&report, &Style::plain());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("bad or missing signature (from 203.0.113.7) 3 times"), "{text}");
        assert!(lines[2].contains("v1.2") && lines[3].contains("4f2a1c9 ") && lines[3].contains("42"), "{text}");
    }
}

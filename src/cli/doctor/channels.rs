//! Who is told when something happens. Line: whether a message arrives is for `pintle notify test`.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::config::Channel;

const ABOUT: &str = "notify";

/// What is to be said of the channels.
pub fn look(here: &Installation) -> Vec<Finding> {
    let Some(config) = here.config() else { return vec![] };
    let channels: Vec<&Channel> = config.host.notify.values().collect();
    let off = channels.iter().filter(|channel| channel.way.is_none()).map(|channel| off(channel));
    std::iter::once(told(&channels)).chain(off).collect()
}

fn told(channels: &[&Channel]) -> Finding {
    let names: Vec<&str> = channels.iter().filter(|it| it.way.is_some()).map(|it| it.name.as_str()).collect();
    match names.is_empty() {
        true => Finding::ok(ABOUT, "nobody is told of anything: no [notify] table of pintle.toml is on"),
        false => Finding::ok(ABOUT, format!("told by {} (`pintle notify test` tries)", names.join(", "))),
    }
}

fn off(channel: &Channel) -> Finding {
    let what = format!("[notify.{}] is off: its address or token is empty", channel.name);
    Finding::warning(format!("{ABOUT}/{}", channel.name), what, "fill it in, or take the table out")
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;
    use crate::config::{Secret, Way};

    #[test]
    fn who_is_told_and_who_is_off_is_said_without_an_address() {
        let channel = |name: &str, way| Channel { name: name.into(), kind: "slack", on: [].into(), way, ca: None };
        let way = Way::Slack { url: Secret(b"https://hooks.example/T0/secret".to_vec()) };
        let (on, off_) = (channel("team", Some(way)), channel("night", None));
        assert!(told(&[]).what.starts_with("nobody is told"));
        let finding = told(&[&on, &off_]);
        assert_eq!((finding.level, finding.what.as_str()), (Level::Ok, "told by team (`pintle notify test` tries)"));
        assert_eq!((off(&off_).level, off(&off_).about.as_str()), (Level::Warning, "notify/night"));
    }
}

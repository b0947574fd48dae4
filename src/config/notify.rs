//! Reads who is told: `[notify.NAME]`, `[dns.duckdns]`, and an app's `[commit_status]`.

use super::read::{Section, one_of};
use super::secret::{secret, secret_or_empty};
use super::units::Misread;
use super::{App, Command, Forge, Secret, Trigger, host};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

/// What a message is about, as `on` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occasion {
    /// A deploy, a rollback that a person ordered, or a backup that one ordered, ended well.
    Success,
    /// It did not, and what runs was not touched.
    Failure,
    /// A deploy was turned back.
    Rollback,
    /// Somebody is needed now.
    Critical,
    /// Something of the host or of an app is not well.
    Health,
    /// It is well again.
    Recovery,
}

/// The occasions by the names they are configured with.
pub(super) const OCCASIONS: [(&str, Occasion); 6] = [
    ("success", Occasion::Success),
    ("failure", Occasion::Failure),
    ("rollback", Occasion::Rollback),
    ("critical", Occasion::Critical),
    ("health", Occasion::Health),
    ("recovery", Occasion::Recovery),
];

/// `[notify.NAME]`: somebody who is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The table's name.
    pub name: String,
    /// The word of its kind: `slack`, `ntfy` ...
    pub kind: &'static str,
    /// What it wants to hear of.
    pub on: BTreeSet<Occasion>,
    /// How it is reached; `None`: it is off, because its address or token is empty.
    pub way: Option<Way>,
    /// Certificates (PEM) that its server's one must lead to, instead of those the system trusts.
    pub ca: Option<PathBuf>,
}

/// How a channel is reached.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Way {
    /// An incoming webhook.
    Slack {
        url: Secret,
    },
    Discord {
        url: Secret,
    },
    /// A bot that writes into a chat.
    Telegram {
        server: String,
        token: Secret,
        chat: String,
    },
    Ntfy {
        server: String,
        topic: String,
        token: Option<Secret>,
    },
    /// JSON for whoever likes, signed where there is a secret.
    Webhook {
        url: Secret,
        secret: Option<Secret>,
    },
    /// A program on this host.
    Command {
        run: Command,
        user: Option<String>,
        timeout: Duration,
    },
}

const KINDS: [(&str, &str); 6] = [
    ("slack", "slack"),
    ("discord", "discord"),
    ("telegram", "telegram"),
    ("ntfy", "ntfy"),
    ("webhook", "webhook"),
    ("command", "command"),
];

/// Every channel by its name. What was wrong is on the sheet.
pub(super) fn read(root: &Section<'_>) -> BTreeMap<String, Channel> {
    let tables = root.named_tables("notify");
    tables.iter().filter_map(|(name, table)| Some((name.to_string(), read_channel(name, table)?))).collect()
}

fn read_channel(name: &str, channel: &Section<'_>) -> Option<Channel> {
    let usable = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !usable || name.is_empty() || name.len() > 48 {
        let advice = "use lower-case letters, digits, '-' and '_'";
        channel.sheet.problem(&channel.path, format!("{name:?} is not a usable name"), advice);
    }
    let written = channel.word("kind", &KINDS);
    let by_name = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    if !channel.has("kind") && by_name.is_none() {
        let advice = "add kind = \"slack\", \"discord\", \"telegram\", \"ntfy\", \"webhook\" or \"command\"";
        channel.problem("kind", "is missing, and the table's name is no kind", advice);
    }
    let on = channel.list("on", |text| one_of(&OCCASIONS, text));
    if on.as_ref().is_some_and(Vec::is_empty)
        && channel.value("on").and_then(Value::as_array).is_some_and(Vec::is_empty)
    {
        channel.problem("on", "is empty: it would never hear of anything", "name an occasion, or leave the key out");
    }
    let on = on.map_or_else(|| OCCASIONS.iter().map(|(_, occasion)| *occasion).collect(), BTreeSet::from_iter);
    let ca = read_ca(channel);
    let Some(kind) = written.or(by_name) else {
        // Nothing can be said about the other keys.
        for key in ["url", "token", "secret", "chat", "topic", "server", "run", "user", "timeout"] {
            channel.value(key);
        }
        return None;
    };
    let way = match kind {
        "slack" => address(channel).map(|url| Way::Slack { url }),
        "discord" => address(channel).map(|url| Way::Discord { url }),
        "telegram" => read_telegram(channel),
        "ntfy" => read_ntfy(channel),
        "webhook" => {
            let secret = secret_or_empty(channel, "secret").filter(|secret| !secret.0.is_empty());
            address(channel).map(|url| Way::Webhook { url, secret })
        }
        _ => read_command(channel),
    };
    Some(Channel { name: name.into(), kind, on, way, ca })
}

/// The address of an incoming webhook, which is a secret: whoever knows it may write. Empty: the channel is off.
fn address(channel: &Section<'_>) -> Option<Secret> {
    channel.missing("url", r#"write { env = "NAME" } or { file = "secrets/NAME" }: the address is a secret"#);
    let url = secret_or_empty(channel, "url").filter(|url| !url.0.is_empty())?;
    match std::str::from_utf8(&url.0).map(web_address) {
        Ok(Ok(_)) => Some(url),
        _ => {
            let advice = "put the whole address there: https://...";
            channel.problem("url", "does not point at an address of the web", advice);
            None
        }
    }
}

fn read_telegram(channel: &Section<'_>) -> Option<Way> {
    channel.missing("token", r#"write { env = "TELEGRAM_TOKEN" }: BotFather tells it"#);
    channel.missing("chat", r#"write the chat's number or "@channel""#);
    let token = secret_or_empty(channel, "token");
    let (server, chat) = (server(channel, "https://api.telegram.org"), channel.string("chat"));
    let (token, chat) = (token?, chat?);
    if token.0.is_empty() || chat.trim().is_empty() {
        return None;
    }
    let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-');
    if !token.0.iter().all(good) {
        channel.problem("token", "is not a bot's token", "copy it from BotFather: digits, ':' and letters");
        return None;
    }
    Some(Way::Telegram { server, token, chat: chat.trim().into() })
}

fn read_ntfy(channel: &Section<'_>) -> Option<Way> {
    channel.missing("topic", r#"write the topic's name: "my-pi""#);
    let token = secret_or_empty(channel, "token").filter(|token| !token.0.is_empty());
    let token = token.filter(|token| fits_a_header(channel, token));
    let (server, topic) = (server(channel, "https://ntfy.sh"), channel.parsed("topic", topic));
    let topic = topic.filter(|topic| !topic.is_empty())?;
    Some(Way::Ntfy { server, topic, token })
}

/// Whether a token can be sent at all.
fn fits_a_header(section: &Section<'_>, token: &Secret) -> bool {
    let fits = token.0.trim_ascii().iter().all(u8::is_ascii_graphic);
    if !fits {
        let advice = "copy it again: one line, without spaces";
        section.problem("token", "holds characters that no token has", advice);
    }
    fits
}

/// An empty topic switches the channel off.
fn topic(text: &str) -> Result<String, Misread> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match text.len() <= 64 && text.bytes().all(good) {
        true => Ok(text.into()),
        false => Err(Misread::new("is not a topic", "use up to 64 letters, digits, '-' and '_'")),
    }
}

fn read_command(channel: &Section<'_>) -> Option<Way> {
    channel.missing("run", r#"write what is run: run = ["/usr/local/bin/tell"]"#);
    let run = channel.command("run");
    let user = host::user(channel, "user");
    let timeout = channel.positive_duration("timeout").unwrap_or(Duration::from_secs(30));
    Some(Way::Command { run: run?, user, timeout })
}

fn server(channel: &Section<'_>, default: &str) -> String {
    channel.parsed("server", web_address).unwrap_or_else(|| default.into())
}

/// An address of the web, without the slash at its end.
fn web_address(text: &str) -> Result<String, Misread> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    match good && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.trim_end_matches('/').into()),
        false => Err(Misread::new("is not an address of the web", r#"write it whole: "https://...""#)),
    }
}

/// A file of certificates; it must be there and hold one.
fn read_ca(section: &Section<'_>) -> Option<PathBuf> {
    let path = section.sheet.context.dir.join(section.line("ca")?);
    if section.sheet.context.frozen || section.sheet.context.accepted {
        return Some(path);
    }
    let shown = path.display();
    match std::fs::read_to_string(&path) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {}
        Ok(_) => section.problem("ca", format!("{shown} holds no certificate"), "name a PEM file"),
        Err(error) => section.problem("ca", format!("cannot read {shown}: {error}"), "name a PEM file"),
    }
    Some(path)
}

/// `[dns.duckdns]`: a name that follows this host's address.
#[derive(Debug, Clone, PartialEq)]
pub struct DuckDns {
    /// What stands before `.duckdns.org`; several are separated by commas.
    pub subdomain: String,
    /// The account's.
    pub token: Secret,
    /// How often the address is told although nothing is known to have changed.
    pub every: Duration,
    /// Who is told.
    pub server: String,
    /// As [`Channel::ca`].
    pub ca: Option<PathBuf>,
}

/// `[dns.*]`. What was wrong is on the sheet.
pub(super) fn read_dns(root: &Section<'_>) -> Option<DuckDns> {
    let mut found = None;
    for (name, provider) in root.named_tables("dns") {
        if name != "duckdns" {
            provider.sheet.problem(&provider.path, "is not a provider known here", "write [dns.duckdns]");
        }
        provider.missing("subdomain", r#"write the name before .duckdns.org: "clinic""#);
        provider.missing("token", r#"write { env = "DUCKDNS_TOKEN" }"#);
        let (subdomain, token) = (provider.parsed("subdomain", subdomain), secret_or_empty(&provider, "token"));
        let every = provider.positive_duration("every").unwrap_or(Duration::from_secs(300));
        if every < Duration::from_secs(60) && provider.has("every") {
            provider.notice("every", "is short: an address rarely changes, and a change is told at once");
        }
        let (server, ca) = (server(&provider, "https://www.duckdns.org"), read_ca(&provider));
        let Some((subdomain, token)) = subdomain.zip(token).filter(|(_, token)| !token.0.is_empty()) else { continue };
        found = Some(DuckDns { subdomain, token, every, server, ca });
    }
    found
}

fn subdomain(text: &str) -> Result<String, Misread> {
    let name = text.strip_suffix(".duckdns.org").unwrap_or(text);
    let part = |part: &str| {
        !part.is_empty() && part.len() <= 63 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match name.split(',').all(part) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(Misread::new("is not a name", r#"write what stands before .duckdns.org: "clinic""#)),
    }
}

/// `[commit_status]`: deploys show beside the commit at the forge.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitStatus {
    /// Which forge.
    pub forge: Forge,
    /// Its API, without a slash at the end.
    pub api: String,
    /// `owner/name`, as the forge has it.
    pub repository: String,
    /// Who may write statuses.
    pub token: Secret,
    /// What the status is called.
    pub context: String,
    /// As [`Channel::ca`].
    pub ca: Option<PathBuf>,
}

/// Reads the table of an app. What was wrong is on the sheet. A frozen definition reports nothing.
pub(super) fn read_commit_status(table: &Section<'_>, app: &str, trigger: &Trigger, git: &str) -> Option<CommitStatus> {
    let token = secret(table, "token").filter(|token| fits_a_header(table, token));
    table.missing("token", r#"write { env = "NAME" }: a token that may write commit statuses"#);
    let context = table.line("context").unwrap_or_else(|| format!("pintle/{app}"));
    let (api, ca) = (table.parsed("api", web_address), read_ca(table));
    if table.sheet.context.frozen {
        return None;
    }
    if !matches!(trigger.forge, Forge::Github | Forge::Gitlab | Forge::Gitea | Forge::Forgejo) {
        let advice = "leave [commit_status] out; GitHub, GitLab, Gitea and Forgejo have it";
        table.sheet.problem(&table.path, "is not known of this forge", advice);
        return None;
    }
    let api = api.or_else(|| api_of(trigger.forge, git));
    if api.is_none() && !table.has("api") {
        table.problem("api", "is missing, and git does not tell it", r#"write it: "https://HOST/api/v1""#);
    }
    if trigger.repository.is_none() {
        let advice = r#"write [trigger] repository = "OWNER/NAME""#;
        table.sheet.problem("trigger.repository", "cannot be derived from git, and [commit_status] needs it", advice);
    }
    let (forge, repository) = (trigger.forge, trigger.repository.clone()?);
    Some(CommitStatus { forge, api: api?, repository, token: token?, context, ca })
}

/// The API of the forge that the source's address leads to. What is not fetched over HTTP tells only the host.
fn api_of(forge: Forge, git: &str) -> Option<String> {
    let (scheme, authority) = match git.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.split('/').next()?),
        Some(("ssh" | "git+ssh" | "git", rest)) => ("https", without_port(rest.split('/').next()?)),
        Some(_) => return None,
        // `git@host:owner/name`
        None => ("https", git.split_once(':').map(|(host, _)| host).filter(|host| !host.contains('/'))?),
    };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest).to_ascii_lowercase();
    // Without a dot it may be a name that only ssh knows.
    if authority.is_empty() || !git.starts_with("http") && !authority.contains('.') {
        return None;
    }
    Some(match (forge, without_port(&authority)) {
        (Forge::Github, "github.com" | "www.github.com" | "ssh.github.com") => "https://api.github.com".into(),
        (Forge::Github, _) => format!("{scheme}://{authority}/api/v3"),
        // Where ssh is answered on port 443.
        (Forge::Gitlab, "altssh.gitlab.com") => "https://gitlab.com/api/v4".into(),
        (Forge::Gitlab, _) => format!("{scheme}://{authority}/api/v4"),
        _ => format!("{scheme}://{authority}/api/v1"),
    })
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

impl App {
    /// Every secret that is known of it: none of them may ever be told.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let status = self.commit_status.as_ref().map(|status| &status.token);
        self.trigger.secrets.iter().chain(&self.source.access.token).chain(status)
    }
}

#[cfg(test)]
mod tests;

//! The first files of a configuration, as `pintle init` writes them: every section in a newcomer's words.
//!
//! A line that begins with `#` and a blank explains; one that begins with `#` alone is a key at its default or a
//! typical value, switched on by removing the `#`.

use super::write::quoted;
use super::{Forge, trigger};
use crate::base::AppName;

/// The text of `pintle.toml`. `listen`: where webhooks arrive.
pub fn host_template(listen: &str) -> String {
    HOST.replace("@LISTEN@", &quoted(listen))
}

/// The text of `apps/NAME.toml`. Its webhook secret is expected in `secrets/NAME` beside `pintle.toml`, mode 0600.
/// `user`: who runs steps and services; without one the line is there to be filled in, which a daemon that runs as
/// root insists on.
pub fn app_template(name: &AppName, repository: &str, branch: &str, forge: Forge, user: Option<&str>) -> String {
    let word = trigger::FORGES.iter().find(|(_, known)| *known == forge).map_or("github", |(word, _)| word);
    let user = match user {
        Some(user) => format!("user = {}", quoted(user)),
        None => "#user = \"pi\"".to_owned(),
    };
    APP.replace("@EVENTS@", events(forge))
        .replace("@STATUS@", status(forge))
        .replace("@NAME@", name.as_str())
        .replace("@FORGE@", &quoted(word))
        .replace("@USER@", &user)
        .replace("@BRANCH@", &quoted(branch))
        .replace("@GIT@", &quoted(repository))
}

/// What there is to say about the events of a forge.
fn events(forge: Forge) -> &'static str {
    match forge {
        Forge::Gitlab => {
            r##"# Deploy when the branch is pushed. To wait for CI, and for the pipeline of that name (workflow: name:) if it has one:
#on = ["pipeline"]
#workflow = "Deploy pipeline"
# What may have started the pipeline; a merge request's never counts. Also: on = ["tag"], on = ["release"].
#workflow_events = ["push", "web"]
"##
        }
        Forge::Bitbucket => {
            r##"# Deploy when the branch is pushed. To wait for CI (Bitbucket Cloud), for the build status of this name or key:
#on = ["pipeline"]
#workflow = "build"
"##
        }
        Forge::Gogs | Forge::Generic => {
            r##"# Deploy when the branch is pushed; or when a tag on it is.
#on = ["tag"]
"##
        }
        Forge::Github | Forge::Gitea | Forge::Forgejo => {
            r##"# Deploy when the branch is pushed. To wait for CI: on = ["workflow_run"] and the workflow's name (or file: ci.yml).
#on = ["workflow_run"]
#workflow = "CI"
# Which runs of the workflow count; a pull request's does not. Also: on = ["tag"], on = ["release"].
#workflow_events = ["push", "workflow_dispatch"]
"##
        }
    }
}

/// What there is to say about commit statuses of a forge.
fn status(forge: Forge) -> &'static str {
    match forge {
        Forge::Github | Forge::Gitlab | Forge::Gitea | Forge::Forgejo => {
            r##"# Show beside each commit at the forge how its deploy went: a token that may write commit statuses.
#[commit_status]
#token = { env = "FORGE_TOKEN" }

"##
        }
        Forge::Gogs | Forge::Bitbucket | Forge::Generic => "",
    }
}

const HOST: &str = r##"# Pintle on this machine. Applications have a file each: apps/NAME.toml beside this one.
# After a change: `pintle check-config`, then `systemctl reload pintle`.
#
# Remove a leading '#' to switch a line on. Spans of time are written "250ms", "30s", "5m", "7d", sizes "10MiB".
# A secret never stands in these files. Point at it:
#     { file = "secrets/NAME" }      a file of mode 0600, beside this one
#     { env = "NAME" }               a line NAME=... in pintle.env beside this file, or the environment
#     { credential = "NAME" }        passed by systemd (LoadCredential=)
# In any text, ${NAME} stands for the value of NAME from pintle.env or the environment.

# Releases, backups, logs and the diary; must survive a reboot. ($STATE_DIRECTORY wins.)
#state_dir = "/var/lib/pintle"
# Sockets; may be lost at a reboot. ($RUNTIME_DIRECTORY wins.)
#runtime_dir = "/run/pintle"

# Webhooks arrive here. Let nginx pass /webhook and /webhook-health on to this address.
# Without this section nothing listens, and deploys are started by `pintle deploy` alone.
[listen]
address = @LISTEN@
# Who the listener runs as when the daemon is root.
#user = "nobody"
# The largest webhook accepted (GitHub sends up to 25 MB), and what all of them together may take.
#max_body = "25MiB"
#memory_budget = "48MiB"
# How many callers at a time, and how long one may take to say what it wants.
#connections = 256
#header_timeout = "5s"
#body_timeout = "20s"
# How often one address may call.
#rate_limit = "30/min"
# Proxies whose word is taken for where a call comes from.
#trust_forwarded = ["127.0.0.1"]
# TLS without nginx: a certificate made here (`pintle status` shows its fingerprint), or { cert = "PATH", key = "PATH" }.
#tls = "self-signed"
# Live logs and details over HTTP (/api), for whoever shows this token; without one for local callers only.
#token = { file = "secrets/dashboard" }
#dashboard = true

# Who may use the `pintle` command besides root and the daemon's own user.
[control]
#group = "pintle"

# When this machine is not well: [warning, critical]. Deploys wait while it is too hot or its voltage too low.
#[health]
#every = "60s"
#cpu_percent = [90, 98]
#memory_percent = [85, 95]
#disk_percent = [85, 95]
#temperature_celsius = [75, 82]
#card_writes_per_day = "20GiB"

# Who is told: [notify.slack], [notify.discord] and [notify.webhook] have a url, others are shown below. What could not be
# sent waits and is sent later. See whether it arrives: `pintle notify test`.
#[notify.slack]
#url = { env = "SLACK_WEBHOOK_URL" }
# What it hears of; without the line everything.
#on = ["success", "failure", "rollback", "critical", "health", "recovery"]
#[notify.telegram]
#token = { env = "TELEGRAM_TOKEN" }
#chat = "-1001234567890"
#[notify.ntfy]
#topic = "my-pi-alerts"
#server = "https://ntfy.sh"

# Keeps a name pointing at an address that changes.
#[dns.duckdns]
#subdomain = "clinic"
#token = { env = "DUCKDNS_TOKEN" }
#every = "5m"
"##;

const APP: &str = r##"# The application @NAME@. After a change: `pintle check-config`, then `systemctl reload pintle`.
# Remove a leading '#' to switch a line on.

# Where releases come from. Commands and paths below are relative to the fetched files.
[source]
git = @GIT@
# The only branch that is ever deployed.
branch = @BRANCH@
# Releases kept, so that a rollback has somewhere to go.
#keep_releases = 5
# What outlives a release: kept outside and linked into each. Databases and uploads belong here.
#shared = ["data", "logs"]
# Where in the repository the application is.
#subdirectory = ""
# Fetch submodules, and files in Git LFS.
#submodules = false
#lfs = false
# For a private repository: an ssh key (mode 0600), or token = { file = "..." } with an https URL.
# ssh_key = { file = "secrets/deploy_key" }

# Who runs the commands and services below: a user without rights.
[app]
@USER@
#allow_root = false

# What the forge's webhook must look like. Its URL is https://YOUR.HOST/webhook/@NAME@, its content type JSON.
[trigger]
forge = @FORGE@
# Put the content of this file into the webhook's form as the secret.
secret = { file = "secrets/@NAME@" }
@EVENTS@# The repository as the forge names it; derived from git above where it can be.
#repository = "OWNER/NAME"
# Ask the repository now and then, for machines that no webhook reaches. Without it: once at the start and when the
# network is back, for a push that was missed; "off": never.
#poll = "5m"
# Put off what comes too often; wait for a quiet hour; wait for `pintle approve`.
#rate_limit = "6/hour"
#window = "02:00-05:00"
#approval = false

@STATUS@# How long things may take.
[deploy]
# From the fetch to the end of probation.
#timeout = "300s"
# A release must stay healthy for so long before the deploy is final; if it does not, the previous one comes back.
#probation = "30s"
# How long a started release may take to become healthy.
#startup = "60s"
# Builds step back behind what runs: 0 to 19.
#nice = 10
# "stopped": the old release is stopped before migrations.
#migrate = "running"

# Before anything is switched, the new release is started out of sight and must become healthy there.
# Its shared data is a copy restored from the backup just made ("copy"), the real one ("live"), or none ("empty").
[rehearsal]
#shared = "copy"
# What a rehearsed release sees differently, as another DATABASE_URL.
#env = { REHEARSED = "yes" }

# Commands of a deploy, in order: build, test, migrate, smoke (against the rehearsed release), after.
# A text is for the shell; a list is a program with its arguments.
#[[step]]
#name = "dependencies"
#phase = "build"
#run = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
#timeout = "5m"
#on_failure = "abort"
#env = { PIP_DISABLE_PIP_VERSION_CHECK = "1" }

# A process that is kept running; one table for each.
#[service.web]
#run = [".venv/bin/gunicorn", "app:app"]
# Pintle opens these sockets and hands them over (LISTEN_FDS): no request is refused while releases change.
# A program that cannot take them: leave it out, and use the environment variable PORT.
#listen = ["127.0.0.1:5000"]
# "socket" with listen, else "restart" (stop, then start). "port": each release gets a PORT of its own, and nginx is
# told: this upstream is written to a file under STATE/apps/@NAME@/nginx, tested, and read by nginx.
#handover = "socket"
# nginx = { file = "web.conf", upstream = "@NAME@", test = ["nginx", "-t"], reload = "nginx -s reload" }
# Whether a new release of it is rehearsed; not for a worker that takes jobs.
#rehearse = true
#instances = 1
# Services that must be up before this one starts.
#after = []
# "always", "on-failure" or "never".
#restart = "always"
# How it is asked to end, and how long it has before it is killed.
#stop_signal = "TERM"
#stop_timeout = "10s"
# A hang: it promised to say WATCHDOG=1 (sd_notify) and did not for so long.
#watchdog = "30s"
# Up when started ("exec"), when it says READY=1 ("notify"; gunicorn does), or when its health check passes ("probe").
# Until it is up the old one is not asked to end.
#ready = "exec"
#no_new_privs = true
# A /tmp and /var/tmp of its own (needs root); not where it shares a socket in /tmp with another program.
#private_tmp = false
#env = { LOG_LEVEL = "info" }
# Files of KEY=value among the fetched or shared files; they must exist.
#env_file = [".env"]
# Above it the kernel kills; `pintle status` says where the kernel does not enforce it.
#memory_max = "256MiB"
# Its log file is set aside at this size, and so many old ones are kept.
#log_max = "10MiB"
#log_keep = 5

# How the application shows that it is well: a page that answers 200. Or any address: http = "http://...".
#[health]
#service = "web"
#path = "/health"
#expect = 200
#contains = "healthy"
#every = "30s"
#timeout = "5s"
# Failures so soon after a start do not count.
#grace = "0s"
# Any of several statuses: expect = [200, 204]. A header: header = { Content-Type = "text/html" }. Not slower than this:
#latency = "2s"
# So many failures in a row mean unhealthy: a deploy in probation is rolled back, later the services are restarted.
#failures = 3

# More things that must be well: a page (http), a port (tcp), a command (run), a service.
#[[probe]]
#name = "dicom"
#tcp = "127.0.0.1:11112"

# What is done when it stays unhealthy although its services were restarted; both need a daemon that runs as root.
#[repair]
#units = ["postgresql.service"]
#reboot = true
#reboots_per_day = 1

# What cron did for the application: in the live release, as its user, one at a time; `pintle status` shows the last run
# and the next. Or at a time of day: at = "03:30", at = "Mon 03:30".
#[[schedule]]
#name = "digest"
#every = "24h"
#run = "python3 manage.py digest"
#timeout = "1h"
#env = { LOG_LEVEL = "info" }

# What is copied before each deploy; without this section the shared paths are.
[backup]
#paths = ["data", "logs"]
# SQLite files outside of paths; those inside are found and copied consistently by themselves.
#sqlite = ["data/app.db"]
#postgres = []
#mysql = []
# The newest so many are kept, and none longer than this.
#keep = 5
#keep_for = "7d"
# A backup that fails ends the deploy before anything is touched.
#before_deploy = true
#every = "24h"
# Restore into a scratch place now and then, to know that it works.
#drill = "7d"
"##;

#[cfg(test)]
mod tests;

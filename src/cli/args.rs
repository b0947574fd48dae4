//! What may be written after `pintle`: the verbs, their options and the help a newcomer reads.
//!
//! The definition is data for clap; the help of the top level groups the verbs by what a person wants to do. Line:
//! nothing is looked up here - which words are apps and which are services is decided in `place`.

use super::{check, demo, demo_app, doctor};
use crate::base::{AppName, BackupId, DeployId, ReleaseName, TagName};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Deploys, supervises and heals the application on one small board.
#[derive(Debug, Parser)]
#[command(name = "pintle", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[allow(missing_docs)]
pub struct Cli {
    /// Configuration directory [default: $PINTLE_CONFIG, else /etc/pintle]
    #[arg(long, global = true, display_order = 900, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Print JSON on stdout: one document, or one per line for what is followed
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// Say more (run and listen: also debug lines)
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say less: no live log, only results and errors
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Every verb that is offered.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Verb {
    /// Write a first configuration and a webhook secret
    #[command(after_help = "Examples:
  pintle init
  pintle init --app shop --repo https://github.com/me/shop.git
  pintle --config ./conf init --app shop --repo /srv/git/shop.git --branch main --forge gitea

Nothing is ever overwritten. A second app is added by a second `init`.")]
    Init(InitArgs),
    /// Check the configuration and list everything that is wrong with it
    #[command(after_help = "Exit code: 0 when the daemon would accept it, else 78.")]
    CheckConfig,
    /// Print the configuration as it is meant: defaults filled in, secrets hidden
    #[command(subcommand)]
    Config(ConfigVerb),
    /// See the whole thing work, in a scratch directory of its own
    Demo(demo::DemoArgs),

    /// Run the daemon in the foreground (systemd does this)
    Run(RunArgs),
    /// Run the webhook listener (the daemon starts it by itself)
    Listen,
    /// Let the daemon read the configuration again
    Reload,
    /// Let the daemon become the pintle that is installed now; the applications do not notice
    Reexec,

    /// Deploy the newest commit of the branch, and watch
    #[command(after_help = "Examples:
  pintle deploy                         the one app there is
  pintle deploy shop --commit 4f2a1c9   this commit of its branch
  pintle deploy shop --dry-run          what would be done, without doing it
  pintle deploy shop --detach           do not wait for the end

Ctrl-C stops watching (exit 0), not the deployment. Exit codes:
  0 success                               4 failed its checks, rolled back
  1 tests failed, nothing was changed     5 rollback failed: needs a person
  2 build failed, nothing was changed     6 refused, superseded or cancelled
  3 failed before the switch, or there was no release to go back to")]
    Deploy(DeployArgs),
    /// Put an earlier release back, checked by the app's own health check
    #[command(after_help = "Examples:
  pintle rollback                            to the last good release
  pintle rollback shop --to 000041-88aa001   to this one (see `pintle releases`)
  pintle rollback shop --with-data           and its data from the backup made then

Exit codes are those of `pintle deploy`.")]
    Rollback(RollbackArgs),
    /// Let a deployment that waits for approval begin
    Approve(NumberArgs),
    /// End a deployment that waits or runs
    Cancel(NumberArgs),
    /// Allow a commit again that was quarantined after it failed
    #[command(override_usage = "pintle forgive [APP] COMMIT")]
    Forgive(ForgiveArgs),

    /// What runs now, on one page
    Status(AppArgs),
    /// Whether all is well: the daemon, the listener, every app, the board
    #[command(after_help = "Examples:
  pintle check             look at everything, and ask each app
  pintle check --quick     without asking over the network
  pintle check --repair    what the health timer does: also bring a daemon back that hangs or failed

Works while the daemon is down. Exit codes: 0 well, 1 warning, 2 critical.")]
    Check(check::CheckArgs),
    /// Whether all of it is installed as it should be, with what to do about what is not
    #[command(after_help = "Examples:
  sudo pintle doctor             look at everything
  sudo pintle doctor --offline   without names, repositories and addresses

Exit codes: 0 well, 1 warning, 2 critical.")]
    Doctor(doctor::DoctorArgs),
    /// Live and past output of services, schedules and deployments
    #[command(after_help = "Examples:
  pintle logs                the last lines of every service of the one app there is
  pintle logs shop web -f    follow one service
  pintle logs web -n 500     with one app its name may be left out
  pintle logs shop --schedule digest
  pintle logs --deploy 42    everything deployment 42 printed; with -f live")]
    Logs(LogsArgs),
    /// The deployments so far, newest first; with --health how the board was
    #[command(after_help = "Examples:
  pintle history shop -n 50              the last deployments of one app
  pintle history --health                the board in the last 24 hours, hour by hour
  pintle history --health --since 30d    ... in a month, day by day; 1y in a year")]
    History(HistoryArgs),
    /// What came to the webhook listener, newest first: accepted, ignored or refused, and why
    Deliveries(DeliveriesArgs),
    /// One deployment, step by step
    Show(NumberArgs),
    /// One deployment as a report to hand on
    Report(NumberArgs),
    /// The releases on disk: which is live, which can be gone back to
    Releases(AppArgs),

    /// Start an app or one of its services
    Start(TargetArgs),
    /// Stop an app or one of its services; stays stopped over reboots until `start`
    Stop(TargetArgs),
    /// Restart an app or one of its services
    Restart(TargetArgs),
    /// Run a command in the live release, as the app's user, with its environment
    #[command(after_help = "Examples:
  pintle exec -- .venv/bin/python manage.py shell
  pintle exec shop -- sh -c 'echo $PINTLE_RELEASE'

The exit code is the command's own.")]
    Exec(ExecArgs),

    /// Make, list, restore and prune backups
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Run a scheduled command now
    #[command(subcommand)]
    Schedule(ScheduleVerb),

    /// See whether messages arrive
    #[command(subcommand)]
    Notify(NotifyVerb),

    /// Print a completion script for your shell
    #[command(after_help = "Examples:
  pintle completions bash > /etc/bash_completion.d/pintle
  pintle completions zsh  > ~/.zfunc/_pintle
  pintle completions fish > ~/.config/fish/completions/pintle.fish")]
    Completions(CompletionsArgs),
    /// The sample app of the demo
    #[command(hide = true)]
    DemoApp(demo_app::DemoAppArgs),
}

/// The groups of the top level's help, in a newcomer's order; every offered verb is in exactly one.
const GROUPS: &[(&str, &[&str])] = &[
    ("Set up", &["init", "check-config", "config", "doctor", "demo"]),
    ("Deploy", &["deploy", "rollback", "approve", "cancel", "forgive"]),
    ("Look", &["status", "check", "logs", "history", "deliveries", "show", "report", "releases"]),
    ("Operate", &["start", "stop", "restart", "exec", "backup", "schedule", "notify"]),
    ("Serve", &["run", "listen", "reload", "reexec"]),
    ("Shell", &["completions"]),
];

const FIRST_STEPS: &str = "\
The first three commands to try:
  pintle demo      a push, a deploy, a failure and a rollback before your eyes, nothing installed
  pintle init      write a configuration for your own application
  pintle status    what runs now

With one app configured its name may be left out everywhere. `pintle COMMAND --help` says more.";

/// The command line's definition, with the grouped help.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let verbs = grouped(&command);
    let template = format!(
        "{{name}} {{version}} - {{about}}\n\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}{{after-help}}"
    );
    command.help_template(template).after_help(FIRST_STEPS).override_usage("pintle [OPTIONS] COMMAND")
}

fn grouped(command: &clap::Command) -> String {
    let purpose =
        |verb: &str| command.find_subcommand(verb).and_then(|found| found.get_about()).map(|about| about.to_string());
    let mut text = String::new();
    for (title, verbs) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for verb in *verbs {
            text.push_str(&format!("  {verb:<13} {}\n", purpose(verb).unwrap_or_default()));
        }
        text.push('\n');
    }
    text
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct InitArgs {
    /// The app's name: file name, directory, and part of the webhook's address
    #[arg(long, value_name = "NAME")]
    pub app: Option<AppName>,
    /// What git clones: a URL or a path
    #[arg(long, value_name = "URL")]
    pub repo: Option<String>,
    /// The only branch that is ever deployed [default: main]
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
    /// Who sends the webhook [default: by the repository's address, else github]
    #[arg(long, value_enum)]
    pub forge: Option<ForgeName>,
}

/// The forges by the names the configuration has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ForgeName {
    Github,
    Gitlab,
    Gitea,
    Forgejo,
    Gogs,
    Bitbucket,
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum ConfigVerb {
    /// Print one app's configuration
    Show(AppArgs),
}

/// A verb about one app, or about all.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct AppArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
}

/// A verb about an app or one service of it.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct TargetArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
    /// One service of it; all of them when left out
    pub service: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct NumberArgs {
    /// The deployment's number, as `history` lists it
    #[arg(value_name = "N", value_parser = deploy_number)]
    pub number: DeployId,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DeployArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
    /// This commit (at least 4 hex digits), or refs/tags/NAME, instead of the branch's newest
    #[arg(long, value_name = "SHA", value_parser = commit_or_tag)]
    pub commit: Option<String>,
    /// This image tag, for apps that are images
    #[arg(long, value_name = "TAG", conflicts_with = "commit", hide = true)]
    pub image: Option<String>,
    /// Also when it is live already, quarantined, or older than what runs
    #[arg(long)]
    pub force: bool,
    /// Make the backup that would come before the deploy, and stop there
    #[arg(long)]
    pub backup_only: bool,
    /// Ask for it and return; `pintle logs --deploy N -f` watches later
    #[arg(long)]
    pub detach: bool,
    /// Print what would be done, with every command, and do nothing
    #[arg(long, conflicts_with_all = ["detach", "backup_only"])]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct RollbackArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
    /// This release instead of the last good one
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<ReleaseName>,
    /// Also put the data back that was backed up when it was last live
    #[arg(long)]
    pub with_data: bool,
    /// Ask for it and return
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct ForgiveArgs {
    /// The app (may be left out when there is only one), then the commit: at least 4 hex digits
    #[arg(value_names = ["APP", "COMMIT"], num_args = 1..=2, required = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct HistoryArgs {
    /// Only this app's
    pub app: Option<String>,
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "K", default_value_t = 20)]
    pub limit: u32,
    /// How the board was instead: processor, memory, disk, heat, power, bytes written
    #[arg(long, conflicts_with_all = ["app", "limit"])]
    pub health: bool,
    /// How far back: 90m, 24h, 30d, 1y [default: 24h]
    #[arg(long, value_name = "SPAN", requires = "health", value_parser = span)]
    pub since: Option<Duration>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DeliveriesArgs {
    /// Only this app's
    pub app: Option<String>,
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "K", default_value_t = 20)]
    pub limit: u32,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct LogsArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
    /// One service of it; all of them when left out
    pub service: Option<String>,
    /// What a schedule of the app printed instead
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub schedule: Option<String>,
    /// A deployment's log instead
    #[arg(long, value_name = "N", value_parser = deploy_number, conflicts_with_all = ["app", "service", "schedule"])]
    pub deploy: Option<DeployId>,
    /// Keep printing what comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines of the past [default: 100; of a deployment: all]
    #[arg(short = 'n', long, value_name = "K")]
    pub lines: Option<u32>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct RunArgs {
    /// Only look whether this program could run with this configuration and database
    #[arg(long, hide = true)]
    pub check: bool,
    /// Where the sensors find /proc and /sys (for tests: a captured board)
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct ExecArgs {
    /// The app; may be left out when there is only one
    pub app: Option<String>,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum BackupVerb {
    /// Make a backup now
    Create(AppArgs),
    /// The backups there are, newest first
    List(AppArgs),
    /// Put a backup's data back, after backing up what it overwrites
    #[command(
        override_usage = "pintle backup restore [OPTIONS] [APP] ID",
        after_help = "Example:
  pintle backup restore shop 20251024_200000-000042"
    )]
    Restore(RestoreArgs),
    /// Remove the backups that the app's `keep` and `keep_for` no longer ask for
    Prune(AppArgs),
    /// Check a backup's files against their checksums
    #[command(hide = true)]
    Verify(LaterArgs),
    /// Restore a backup into a scratch place and check it
    #[command(hide = true)]
    Drill(LaterArgs),
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum NotifyVerb {
    /// Send a test to every channel, or to one, and say what happened
    #[command(after_help = "Exit code: 1 when one of them could not be told.")]
    Test(TestArgs),
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum ScheduleVerb {
    /// Start a schedule's command now; its next time stays what it is
    #[command(override_usage = "pintle schedule run [APP] NAME")]
    Run(ScheduleArgs),
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct TestArgs {
    /// Only this channel: the NAME of its [notify.NAME]
    #[arg(value_name = "NAME")]
    pub channel: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct ScheduleArgs {
    /// The app (may be left out when there is only one), then the schedule's name
    #[arg(value_names = ["APP", "NAME"], num_args = 1..=2, required = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct RestoreArgs {
    /// The app (may be left out when there is only one), then the backup's id
    #[arg(value_names = ["APP", "ID"], num_args = 1..=2, required = true)]
    pub words: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Whatever was written after a verb that is still to come.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct LaterArgs {
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `42`, `#42` or `000042`.
fn deploy_number(text: &str) -> Result<DeployId, String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    match digits.parse() {
        Ok(number) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(DeployId(number)),
        _ => Err("a deployment's number is meant, as `pintle history` lists it".into()),
    }
}

/// A span of time to look back: `90m`, `24h`, `30d`, `1y`.
fn span(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800), ("y", 366 * 86_400)];
    let found = UNITS.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds))
    });
    found.map(Duration::from_secs).ok_or_else(|| "write a number and m, h, d, w or y, as in 24h, 30d or 1y".into())
}

/// A commit or its beginning, or a tag by its full name.
fn commit_or_tag(text: &str) -> Result<String, String> {
    match text.strip_prefix("refs/tags/") {
        Some(tag) => TagName::new(tag).map(|tag| format!("refs/tags/{tag}")).map_err(|bad| bad.to_string()),
        None => commit_prefix(text),
    }
}

/// A commit or its beginning: 4 to 64 hex digits, made lower-case.
pub fn commit_prefix(text: &str) -> Result<String, String> {
    if (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a commit is meant: 4 to 64 hex digits (a branch or tag is not deployed by name)".into())
}

/// A backup's id.
pub fn backup_id(text: &str) -> Result<BackupId, String> {
    BackupId::new(text).map_err(|bad| bad.to_string())
}

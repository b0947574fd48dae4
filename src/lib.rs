//! Pintle deploys, supervises and heals the application on one small board.
//!
//! > Thinking rooms turn events into actions. Hands carry the actions out and bring back events. One table joins
//! > them, one diary remembers.
//!
//! # The house from above
//!
//! ```text
//!  network ──▶ listener ──listener.sock──▶ ┌──────────── daemon ─────────────┐ ◀──control.sock── cli
//!              (unprivileged               │ doors, post ──▶ turn (pure)     │
//!               process)                   │   ▲               │ actions     │
//!                                          │   │ events        ▼             │
//!                                          │   └──────────── hands, work ────│──▶ os, runtime: git, processes,
//!                                          │                   │             │    files, sockets, backups
//!                                          │                journal ──▶ store (the diary)
//!                                          └─────────────────────────────────┘
//! ```
//!
//! One binary, two processes. The daemon owns the applications, the releases and the diary, and hears no byte from the
//! network. The listener hears the network and owns nothing: it is a client of the daemon with a narrow socket.
//!
//! # The rooms, in reading order
//!
//! A room imports from rooms above it in this list. Three small things go the other way: `control::client` and `store`
//! borrow `os::files` and `os::sockets` (an error's words, a flush, a connect that ends), and `daemon::hands` tells the
//! listener its `Setup`. Rooms that think know [`base`], [`config`] and [`control`], never each other.
//!
//! | room | what it is |
//! |---|---|
//! | [`base`] | the nouns everybody shares: names, numbers, bytes, moments |
//! | [`config`] | the files in the configuration directory, typed and checked, all problems at once |
//! | [`control`] | what can be asked of the daemon and what it answers; the JSON shapes of `--json` |
//! | *thinking* | |
//! | [`delivery`] | a request's head and bytes: accept, ignore with a reason, refuse |
//! | [`deploy`] | a deployment: when a branch is looked at, what it waits for (the board too), its plan, machine, recovery, what its end means |
//! | [`supervise`] | an instance's machine, what it says, backoff, who makes way for whom, where clients are sent, what runs by the clock |
//! | [`health`] | an app's probes: when to look, what the looks mean together, which repair is next; the board: its sensors' texts, what they mean, what is kept of them |
//! | [`backup`] | names, roots, manifest, what may be reused, what is kept |
//! | [`notify`] | what happened in words; told once; the outbox: what is sent when; how each channel wants it |
//! | *touching* | |
//! | [`store`] | the diary: facts told, one snapshot read back; SQLite, and a memory for the simulation |
//! | [`os`] | the hands: processes, commands, git, releases, backups, sockets, probes, groups, signals, systemd, certificates, a board's sensors, the walls around a process |
//! | [`runtime`] | what running means for an app: place, environment, process, ports, nginx, confinement |
//! | *joining* | |
//! | [`daemon`] | `turn` (pure: event in, actions out), `world`, `boot`; `event_loop`, `hands`, `doors`, `run` |
//! | [`listener`] | the process that the network talks to: `guard` (every public connection), `server`, `routes`, `hooks` |
//! | [`cli`] | one file per verb, and the demo |
//!
//! Begin with `deploy::machine`, the story of a deployment, and `supervise::instance`, the story of a process; then
//! `daemon::turn`, where every decision is called, and `daemon::hands`, where every action ends. What a stranger sends
//! meets `listener::guard::connection` first, and `delivery::decide` last.
//!
//! What outlives a daemon is found again by the next one: `os::instances` (who runs), `os::output` and `os::notify`
//! (what they say), `os::fdstore` (their sockets: with systemd, a keeper, or our own earlier image by `os::reexec`);
//! `daemon::survivors` puts it together.
//!
//! # Invariants
//!
//! - **Thinking rooms and `daemon::turn` touch nothing**: no file, socket, process, thread, clock or database. Time
//!   comes in as a value, the next deadline goes out. `tests/pintle/rooms.rs` reads the sources.
//! - **Only whole requests pass the guard**: strictly read, bounded, in time. Nothing behind it sees a body's framing or
//!   waits for a client, and what the listener could be made to ask of the kernel is refused there.
//! - **A commit is one deployment, whoever names it**: webhook, script or a look at the branch. What waits at a gate (a
//!   window, an approval, a rate) is on disk; only what came by itself waits, and the newest wins.
//! - **A deploy begins by what the board says now**, and what a board does not say holds up nobody. Neither heat nor load
//!   ever ends or restarts what runs.
//! - **Hands never decide.** They carry out and report; a failed action is an event, never a way out of the loop.
//! - **`current` is the only truth about what is live.** The diary is intent and history; where they disagree the link
//!   wins.
//! - **Intent first.** A phase is on disk before it begins, a 2xx is sent after the deployment is on disk.
//! - **A crashed app never waits for the disk.** It is started again first and written down later.
//! - **Every event names its app, instance and release**, so that a planned stop is never taken for a crash, nor a late
//!   word of an old release for one of the new.
//! - **Every end is seen, and told once**: by the instance's pidfd, whoever its parent is by now. No number of an
//!   instance is used twice by one daemon, nor while one that an earlier daemon started has it.
//! - **A listening socket is bound once.** It outlives instances, releases and daemons until no service names it; while
//!   nobody accepts, visitors wait in it.
//! - **What runs needs no daemon.** No signal, pipe or parent ties it to ours; what the next one needs of it is left
//!   where that one looks as soon as the process exists.
//! - **What runs is adopted or ended before anything is started**, and nothing is started or stopped before it is known
//!   what should run.
//! - **Two releases of a service run at once only while one is handed over to the other**, and never where its handover
//!   is `restart`.
//! - **Where nginx sends clients is tested first and put back when it fails**; an old instance goes when nobody is sent
//!   to it any more.
//! - **A directory with a release's or a backup's name is whole.** It is made and removed under other names.
//! - **A failure before the switch has touched nothing that runs**; from the switch on the previous release comes back
//!   and is verified by its own health check.
//! - **What ran once runs again as it was meant then**: a release's definition is frozen beside it.
//! - **What is told is on disk with what it tells of**, and sent from there until its peer took it: in order, one message of
//!   a channel at a time. A trouble is told once, and so is its end, whoever is the daemon by then.
//! - **Before the loop the daemon may die with an explanation, inside it it may not.**
//! - **No outside string becomes an option, a path or a word of a shell; no secret is in an argument, a log, an error,
//!   `Debug` or JSON.**
//!
//! `daemon::simulation` (in tests) holds these against crashes, lost and doubled events, full disks and clocks that
//! jump, seed by seed; `tests/pintle/power_cut.rs` holds them against a real file system.
//!
//! # Deliberately absent
//!
//! - **An async runtime.** A loop, a poll and a few threads suffice, sleep when nothing is due, and can be read in a
//!   debugger.
//! - **Polling of children, files or locks.** Events wake the loop; the state's lock is the kernel's and dies with its
//!   holder.
//! - **Deploying in place, and a rollback that is a second deploy.** A release is a directory; going back is a rename.
//! - **Undoing migrations.** A rollback leaves the schema as it is; a backup is restored only when asked for.
//! - **Guessing the forge.** It is configured; a header is never believed before a signature.
//! - **A plug-in interface, an event bus, a builder of containers.** What an application needs done is a step.

pub mod base;
pub mod config;

pub mod backup;
pub mod delivery;
pub mod deploy;
pub mod health;
pub mod notify;
pub mod supervise;

pub mod control;
pub mod daemon;
pub mod listener;
pub mod os;
pub mod runtime;
pub mod store;

pub mod cli;

//! A listener that the open internet may touch: the running binary, and clients that mean no good.
//!
//! Each hostile request that ends or blocks a bare tiny_http is a test here, and those that any server on the internet
//! meets. [`Target`] is what they are sent to; when a test is through with it, it must serve a signed push as before,
//! with the process, the threads and the descriptors it had, and neither the daemon nor the application has noticed.
//! `raw` is the client without manners; then by subject. `behind_nginx` and `framing` put other programs beside it:
//! they must read every request as we do. What needs root or another program is ignored by default.

mod addresses;
mod behind_nginx;
mod crowds;
mod framing;
mod heads;
mod lengths;
mod memory;
mod network;
mod raw;
mod slow;
mod slowhttptest;
mod strangers;
mod streams;
mod vital;

use crate::world::wait::wait_quietly;
use crate::world::{App, Reply, Request, World, payload};
use std::time::{Duration, Instant};
use vital::Vital;

/// How long a good request may take while nothing else is asked of the listener.
const IN_TIME: Duration = Duration::from_secs(2);

/// How long it may take to give up what an attack left behind: longer than any deadline of the guard's.
const REST: Duration = Duration::from_secs(30);

/// A world under attack, and how it was before.
struct Target {
    world: World,
    commit: String,
    before: Before,
}

struct Before {
    listener: Vital,
    daemon: Vital,
    app: i32,
}

impl Target {
    /// A shop that is live, with quick deadlines.
    fn up() -> Target {
        Target::with("header_timeout = \"1s\"\nbody_timeout = \"1s\"")
    }

    /// A shop that is live; `listen` are lines of `[listen]`.
    fn with(listen: &str) -> Target {
        Target::of(World::with([App::new("shop")]).host(listen).up())
    }

    fn of(world: World) -> Target {
        let commit = world.shop().version("v1", &[]);
        let number = world.shop().push(&commit).accepted();
        world.end_of(number);
        world.shop().serves("v1");
        let target = Target { before: Before::of(&world), world, commit };
        target.is_served();
        Target { before: Before::of(&target.world), ..target }
    }

    fn listener(&self) -> i32 {
        Vital::of_listener(&self.world).pid
    }

    fn port(&self) -> u16 {
        self.world.hook
    }

    /// A signed push of what is live, all the way to the daemon.
    fn good_push(&self) -> Request {
        self.world.shop().push_request("main", &self.commit)
    }

    /// A signed push of a branch that nobody deploys, with a body of `bytes` or more.
    fn ignored_push(&self, bytes: usize) -> Request {
        let mut body = payload::push("owner/shop", "other", &self.commit);
        body["padding"] = "x".repeat(bytes).into();
        Request::post("/webhook/shop").header("X-GitHub-Event", "push").json(&body).signed(crate::world::site::SECRET)
    }

    /// A signed push is answered, in time.
    #[track_caller]
    fn is_served(&self) -> Reply {
        let began = Instant::now();
        let reply = self.good_push().send(self.port());
        let took = began.elapsed();
        let reply = reply.unwrap_or_else(|error| panic!("a good push got no answer: {error}\n{}", self.said())).is(200);
        assert!(took < IN_TIME, "a good push took {took:?}\n{}", self.said());
        reply
    }

    /// Everything is as it was before the attack: waited for, because a connection takes its time to be given up.
    #[track_caller]
    fn is_unharmed(&self) {
        self.is_served();
        let before = &self.before;
        for (name, pid, before) in
            [("listener", self.listener(), before.listener), ("daemon", self.world.daemon_pid(), before.daemon)]
        {
            let rests = wait_quietly(REST, || Vital::of(pid).rests_like(&before));
            assert!(rests.is_some(), "the {name} is {:?}, and was {before:?}\n{}", Vital::of(pid), self.said());
        }
        let began = Instant::now();
        let status = self.world.status();
        assert!(began.elapsed() < IN_TIME, "`status` took {:?}", began.elapsed());
        let restarts = status.apps[0].services[0].instances[0].restarts;
        assert_eq!((self.world.shop().pid(), restarts), (before.app, 0), "the application noticed");
        self.is_served();
    }

    fn said(&self) -> String {
        format!("{:?}\n{}", Vital::of_listener(&self.world), self.world.daemon_said())
    }
}

impl Before {
    fn of(world: &World) -> Before {
        Before { listener: Vital::of_listener(world), daemon: Vital::of(world.daemon_pid()), app: world.shop().pid() }
    }
}

//! `pintle reexec`: the daemon becomes the program that is installed now, and this waits until it has.

use super::context::{Context, SOON, unexpected};
use super::failure::Failure;
use crate::control::{Answer, Request};
use std::time::{Duration, Instant};

/// The new program opens the diary; after a power cut on a slow card that takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Asks, and waits for the new program to answer.
pub fn run(cx: &mut Context<'_>) -> Result<u8, Failure> {
    let mut daemon = cx.daemon()?;
    let Answer::TakesOver { version, after } = daemon.ask(&Request::Reexec, Some(PATIENCE))? else {
        return Err(unexpected());
    };
    let message = match after {
        Some(number) => format!("pintle {version} takes over when deployment {} is over", number.0),
        None => {
            let deadline = Instant::now() + PATIENCE;
            daemon.client.wait_for_end(deadline);
            wait_for_answer(cx, deadline)?;
            format!("pintle {version} has taken over")
        }
    };
    cx.answer(&serde_json::json!({"message": message, "version": version, "after": after}), |_| {
        format!("{message}\n")
    })?;
    Ok(0)
}

fn wait_for_answer(cx: &mut Context<'_>, deadline: Instant) -> Result<(), Failure> {
    loop {
        match cx.ask(&Request::Ping, SOON) {
            Ok(_) => return Ok(()),
            Err(down) if down.is_unreachable() && Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Err(failure) => return Err(failure),
        }
    }
}

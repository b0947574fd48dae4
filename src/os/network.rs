//! Tells when there is a way out of this host again: a default route that was not there, or one whose link was down; and
//! when an IPv4 address of it is another one.
//!
//! The kernel says (rtnetlink) that links or routes changed; what is true then is read from `/proc` and the interfaces, so
//! that a message that was lost or is not understood costs nothing. The thread sleeps until something changes, and in a
//! flood of changes looks once a second. Line: it only tells; what a return of the network means is the loop's.

use super::files::because;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// What is asked to be told of.
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE | libc::RTMGRP_IPV4_IFADDR;
/// A change rarely comes alone: so long is waited for the rest.
const GATHER: Duration = Duration::from_secs(1);
/// Messages taken at once; more are left for the next time.
const AT_ONCE: usize = 256;

/// Interfaces that a default route leads through and that are up.
type Ways = BTreeSet<String>;

/// What happened to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// There is a way out again.
    IsBack,
    /// The way out that there is leads from another address.
    AddressChanged,
}

/// Calls `tell` from a thread of its own whenever there are news. Fails where the kernel tells nobody (a container without
/// netlink or `/proc`).
pub fn watch(tell: impl Fn(News) + Send + 'static) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, GROUPS as u32))?;
    let (mut ways, mut addresses) = (ways()?, addresses()?);
    let watching = move || {
        loop {
            let mut lost = match hear(&netlink, MsgFlags::empty(), &ways) {
                Ok(lost) => lost,
                Err(error) => return log::warn!("changes of the network are not noticed any more: {error}"),
            };
            std::thread::sleep(GATHER);
            for _ in 0..AT_ONCE {
                match hear(&netlink, MsgFlags::MSG_DONTWAIT, &ways) {
                    Ok(more) => lost |= more,
                    Err(_) => break,
                }
            }
            let Ok(now) = self::ways() else { continue };
            if now.difference(&ways).next().is_some() || lost && !now.is_empty() {
                tell(News::IsBack);
            }
            ways = now;
            let Ok(now) = self::addresses() else { continue };
            if now != addresses && !now.is_empty() {
                tell(News::AddressChanged);
            }
            addresses = now;
        }
    };
    std::thread::Builder::new().name("network".into()).stack_size(128 << 10).spawn(watching).map(drop)
}

/// Takes what the kernel says next: whether one of `ways` was lost by it, even if it is back by now.
fn hear(netlink: &OwnedFd, flags: MsgFlags, ways: &Ways) -> io::Result<bool> {
    let mut bytes = [0; 8 << 10];
    match recv(netlink.as_raw_fd(), &mut bytes, flags) {
        Ok(length) => Ok(loses_a_way(bytes.get(..length).unwrap_or_default(), ways)),
        Err(Errno::EINTR) => Ok(false),
        // Too much was said at once: anything may have happened.
        Err(Errno::ENOBUFS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether these messages say that the link of one of `ways` went down. What cannot be read may have said so.
fn loses_a_way(mut bytes: &[u8], ways: &Ways) -> bool {
    const HEADER: usize = 16;
    while !bytes.is_empty() {
        let Some(length) = u32_at(bytes, 0).map(|length| length as usize) else { return true };
        let Some(message) = bytes.get(HEADER..length) else { return true };
        let kind = u16_at(bytes, 4);
        if (kind == Some(libc::RTM_NEWLINK) || kind == Some(libc::RTM_DELLINK)) && is_down(kind, message) {
            match interface(message) {
                Some(name) if !ways.contains(&name) => {}
                _ => return true,
            }
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    false
}

/// Whether a message about a link says that nothing passes through it.
fn is_down(kind: Option<u16>, message: &[u8]) -> bool {
    let running = u32_at(message, 8).is_some_and(|flags| flags & libc::IFF_RUNNING as u32 != 0);
    kind == Some(libc::RTM_DELLINK) || !running
}

/// The interface's name among the attributes of a message about a link.
fn interface(message: &[u8]) -> Option<String> {
    const LINK: usize = 16;
    let mut attributes = message.get(LINK..)?;
    while !attributes.is_empty() {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == libc::IFLA_IFNAME {
            let name = value.split(|byte| *byte == 0).next()?;
            return String::from_utf8(name.to_vec()).ok();
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    None
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The ways out as they are now.
fn ways() -> io::Result<Ways> {
    let read = |name: &str| {
        let path = Path::new("/proc/thread-self/net").join(name);
        std::fs::read_to_string(&path).map_err(|error| because("read", &path, &error))
    };
    // A kernel without IPv6 has no such file.
    let routed = default_routes(&read("route")?, &read("ipv6_route").unwrap_or_default());
    let running = getifaddrs()?.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_RUNNING));
    let running: BTreeSet<String> = running.map(|interface| interface.interface_name).collect();
    Ok(routed.intersection(&running).cloned().collect())
}

/// The IPv4 addresses that others may know this host by.
fn addresses() -> io::Result<BTreeSet<Ipv4Addr>> {
    let known = getifaddrs()?.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    Ok(known.filter(|address| !address.is_loopback() && !address.is_link_local()).collect())
}

/// The interfaces of default routes, as `/proc/net/route` and `/proc/net/ipv6_route` tell them.
fn default_routes(route: &str, ipv6_route: &str) -> Ways {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let is_usable = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (UP | REJECT) == UP);
    let is_zero = |hex: &str| hex.bytes().all(|digit| digit == b'0');
    let v4 = route.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
        (is_zero(destination) && is_zero(mask) && is_usable(flags)).then(|| name.to_string())
    });
    let v6 = ipv6_route.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, _, _, _, _, _, _, flags, name] = fields[..] else { return None };
        (is_zero(destination) && is_zero(length) && is_usable(flags)).then(|| name.to_string())
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
#[path = "network/tests.rs"]
mod tests;

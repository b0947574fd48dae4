//! stopgap
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;
/// tcp
pub fn tcp(address: &str, timeout: Duration) -> Result<(), String> {
    let at = address.to_socket_addrs().map_err(|e| e.to_string())?.next().ok_or("no address")?;
    TcpStream::connect_timeout(&at, timeout).map(drop).map_err(|e| e.to_string())
}
/// http
pub fn http(url: &str, expect: u16, contains: Option<&str>, timeout: Duration) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or("only http in the stopgap")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let at = host.to_socket_addrs().map_err(|e| e.to_string())?.next().ok_or("no address")?;
    let s = TcpStream::connect_timeout(&at, timeout).map_err(|e| e.to_string())?;
    s.set_read_timeout(Some(timeout)).map_err(|e| e.to_string())?;
    talk(s, host, path, expect, contains)
}
/// unix
pub fn http_unix(
    socket: &Path,
    path: &str,
    expect: u16,
    contains: Option<&str>,
    timeout: Duration,
) -> Result<(), String> {
    let s = std::os::unix::net::UnixStream::connect(socket).map_err(|e| e.to_string())?;
    s.set_read_timeout(Some(timeout)).map_err(|e| e.to_string())?;
    talk(s, "localhost", path, expect, contains)
}
fn talk<S: Read + Write>(mut s: S, host: &str, path: &str, expect: u16, contains: Option<&str>) -> Result<(), String> {
    write!(s, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut t = String::new();
    s.read_to_string(&mut t).map_err(|e| e.to_string())?;
    let status: u16 = t.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("no HTTP answer")?;
    if status != expect {
        return Err(format!("HTTP {status} instead of {expect}"));
    }
    match contains {
        Some(x) if !t.contains(x) => Err(format!("the body does not contain {x:?}")),
        _ => Ok(()),
    }
}

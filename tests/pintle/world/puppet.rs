//! A running process that makes the system calls a test says, as one that was broken into would: the test attaches to it
//! as a debugger, sets its registers on an instruction that enters the kernel, and lets it take one step.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// The process, stopped. Dropped it goes on where it was.
pub struct Puppet {
    thread: i32,
    before: Registers,
    /// Where an instruction stands that enters the kernel.
    gate: u64,
    memory: File,
    /// Memory of its own for arguments.
    scratch: u64,
    used: u64,
}

const SCRATCH: u64 = 64 << 10;
const NT_PRSTATUS: usize = 1;

impl Puppet {
    /// Stops a thread of a process (the first has the number of the process).
    pub fn attach(process: i32, thread: i32) -> Puppet {
        trace(libc::PTRACE_ATTACH, thread, 0, 0).unwrap_or_else(|error| panic!("attach to {thread}: {error}"));
        assert_eq!(stopped(thread), libc::SIGSTOP);
        let before = Registers::of(thread);
        let memory = File::options().read(true).write(true).open(format!("/proc/{process}/mem")).unwrap();
        let gate = find_gate(process, &memory);
        let mut puppet = Puppet { thread, before, gate, memory, scratch: 0, used: 0 };
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let scratch = puppet.call(libc::SYS_mmap, [0, SCRATCH, protection as u64, kind as u64, u64::MAX, 0]);
        puppet.scratch = u64::try_from(scratch).unwrap_or_else(|_| panic!("no memory: {scratch}"));
        puppet
    }

    /// Has it make a system call; what the kernel answered (below 0: an error).
    #[track_caller]
    pub fn call(&mut self, number: libc::c_long, arguments: [u64; 6]) -> i64 {
        let mut registers = self.before.clone();
        registers.aim(self.gate, number as u64, arguments);
        registers.set(self.thread);
        loop {
            trace(libc::PTRACE_SINGLESTEP, self.thread, 0, 0).unwrap();
            let signal = stopped(self.thread);
            let now = Registers::of(self.thread);
            if signal == libc::SIGTRAP && now.place() != self.gate {
                assert_eq!(
                    now.place(),
                    self.gate + GATE.len() as u64,
                    "it went on elsewhere: is it still our program?"
                );
                return now.answer();
            }
        }
    }

    /// Puts bytes into its memory, ended by NUL; their address.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        assert!(bytes.len() as u64 + 16 < SCRATCH);
        if self.used + bytes.len() as u64 + 16 > SCRATCH {
            self.used = 0;
        }
        let address = self.scratch + self.used;
        self.memory.write_all_at(&[bytes, &[0]].concat(), address).unwrap();
        self.used += (bytes.len() as u64 + 1).next_multiple_of(16);
        address
    }

    /// Reads its memory.
    pub fn get(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.memory.read_exact_at(&mut read, address).unwrap();
        read
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = trace(libc::PTRACE_DETACH, self.thread, 0, 0);
            return;
        }
        assert_eq!(self.call(libc::SYS_munmap, [self.scratch, SCRATCH, 0, 0, 0, 0]), 0);
        self.before.set(self.thread);
        trace(libc::PTRACE_DETACH, self.thread, 0, 0).unwrap();
    }
}

fn trace(request: libc::c_uint, thread: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here read and write the `iovec` that `data` points at, or no memory of ours.
    match unsafe { libc::ptrace(request, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits until it stops; the signal that it stopped for.
fn stopped(thread: i32) -> i32 {
    let mut status = 0;
    // SAFETY: writes one integer.
    let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert_eq!(waited, thread, "{}", io::Error::last_os_error());
    assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
    libc::WSTOPSIG(status)
}

fn find_gate(process: i32, memory: &File) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let code = maps.lines().filter(|line| line.contains(" r-xp "));
    let found = code.filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let mut bytes = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut bytes, start).ok()?;
        let mut places = (0..bytes.len() - GATE.len()).step_by(ALIGNED);
        places.find(|at| bytes[*at..].starts_with(GATE)).map(|at| start + at as u64)
    });
    found.into_iter().next().expect("an instruction that enters the kernel")
}

/// The registers of a thread.
#[derive(Clone)]
struct Registers(libc::user_regs_struct);

impl Registers {
    fn of(thread: i32) -> Registers {
        // SAFETY: integers only, for which all zeros is a value.
        let mut registers = Registers(unsafe { std::mem::zeroed() });
        registers.exchange(libc::PTRACE_GETREGSET, thread);
        registers
    }

    fn set(&self, thread: i32) {
        self.clone().exchange(libc::PTRACE_SETREGSET, thread);
    }

    fn exchange(&mut self, request: libc::c_uint, thread: i32) {
        let mut all = libc::iovec { iov_base: (&raw mut self.0).cast(), iov_len: size_of_val(&self.0) };
        trace(request, thread, NT_PRSTATUS, (&raw mut all) as usize).unwrap();
    }
}

#[cfg(target_arch = "x86_64")]
const GATE: &[u8] = &[0x0f, 0x05];
#[cfg(target_arch = "x86_64")]
const ALIGNED: usize = 1;

#[cfg(target_arch = "x86_64")]
impl Registers {
    fn aim(&mut self, gate: u64, number: u64, [a, b, c, d, e, f]: [u64; 6]) {
        let registers = &mut self.0;
        // Not to be taken for the call it was in, which the kernel would begin again.
        registers.orig_rax = u64::MAX;
        (registers.rip, registers.rax) = (gate, number);
        (registers.rdi, registers.rsi, registers.rdx) = (a, b, c);
        (registers.r10, registers.r8, registers.r9) = (d, e, f);
    }
    fn place(&self) -> u64 {
        self.0.rip
    }
    fn answer(&self) -> i64 {
        self.0.rax as i64
    }
}

#[cfg(target_arch = "aarch64")]
const GATE: &[u8] = &[0x01, 0x00, 0x00, 0xd4];
#[cfg(target_arch = "aarch64")]
const ALIGNED: usize = 4;

#[cfg(target_arch = "aarch64")]
impl Registers {
    fn aim(&mut self, gate: u64, number: u64, arguments: [u64; 6]) {
        self.0.pc = gate;
        self.0.regs[..6].copy_from_slice(&arguments);
        self.0.regs[8] = number;
    }
    fn place(&self) -> u64 {
        self.0.pc
    }
    fn answer(&self) -> i64 {
        self.0.regs[0] as i64
    }
}

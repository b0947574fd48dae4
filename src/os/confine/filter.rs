//! Puts together the program that the kernel runs before each system call (seccomp's classic BPF) from rules that read
//! as sentences: this call, if its arguments are these.
//!
//! What no rule allows is refused with an error (EPERM) and not with death, so that a libc that tries something new
//! first and falls back to something old, as they do, degrades instead of dying. Pure: installed by `calls`.

use libc::{c_long, sock_filter};

/// A call that is allowed if all conditions hold, and refused otherwise.
pub(super) struct Rule<'a> {
    pub(super) call: c_long,
    pub(super) when: Vec<When<'a>>,
}

/// A condition of one argument (0 to 5). The kernel takes an `int` from the lower half of a register and ignores the
/// rest, and so do those that look at integers.
pub(super) enum When<'a> {
    /// It is this.
    Is(u32, u32),
    /// It is one of these.
    IsOneOf(u32, &'a [u32]),
    /// It is none of these.
    IsNoneOf(u32, &'a [u32]),
    /// Of the bits in the second number those in the third are set, and only they.
    Bits(u32, u32, u32),
    /// It is a null pointer, or a number that is 0.
    IsNull(u32),
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// `struct seccomp_data`: number, architecture, address, arguments. The lower half of an argument stands first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn lower(argument: u32) -> u32 {
    16 + 8 * argument
}
const fn upper(argument: u32) -> u32 {
    lower(argument) + 4
}

/// The program. `architecture` is the kernel's number of the only one whose calls are allowed; `missing` are calls that
/// are answered as by a kernel that does not have them (ENOSYS).
pub(super) fn program(architecture: u32, missing: &[c_long], rules: &[Rule<'_>]) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE), jump_if_equal(architecture, 1, 0), answer(REFUSE), load(NUMBER)];
    for call in missing {
        program.extend([jump_if_equal(*call as u32, 0, 1), answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)]);
    }
    for rule in rules {
        let body = body(&rule.when);
        program.push(jump_if_equal(rule.call as u32, 0, body.len()));
        program.extend(body);
    }
    program.push(answer(REFUSE));
    program
}

/// What is asked of one call, ending in its answer.
fn body(when: &[When<'_>]) -> Vec<sock_filter> {
    if when.is_empty() {
        return vec![answer(ALLOW)];
    }
    // From the last to the first, because jumps go forward: each condition falls through to the next one, and jumps over
    // all of them to the refusal at the end.
    let mut body = vec![answer(ALLOW), answer(REFUSE)];
    for condition in when.iter().rev() {
        let refusal = body.len() - 1;
        let mut asked = match condition {
            When::Is(argument, value) => one_of(*argument, &[*value], 0, refusal),
            When::IsOneOf(argument, values) => one_of(*argument, values, 0, refusal),
            When::IsNoneOf(argument, values) => one_of(*argument, values, refusal, 0),
            When::Bits(argument, mask, set) => {
                vec![load(lower(*argument)), and(*mask), jump_if_equal(*set, 0, refusal)]
            }
            When::IsNull(argument) => vec![
                load(lower(*argument)),
                jump_if_equal(0, 0, refusal + 2),
                load(upper(*argument)),
                jump_if_equal(0, 0, refusal),
            ],
        };
        asked.append(&mut body);
        body = asked;
    }
    body
}

/// Goes on `found` instructions behind its end when the argument is one of the values, else `else_` behind it.
fn one_of(argument: u32, values: &[u32], found: usize, else_: usize) -> Vec<sock_filter> {
    let mut asked = vec![load(lower(argument))];
    for (index, value) in values.iter().enumerate() {
        let left = values.len() - index - 1;
        let not = if left == 0 { else_ } else { 0 };
        asked.push(jump_if_equal(*value, left + found, not));
    }
    asked
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

const fn and(mask: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

/// A jump too far for its byte would be a rule of more than 250 instructions; it ends at the wrong place, which the tests
/// of every rule would show.
const fn jump_if_equal(value: u32, then: usize, else_: usize) -> sock_filter {
    sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: then as u8,
        jf: else_ as u8,
        k: value,
    }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

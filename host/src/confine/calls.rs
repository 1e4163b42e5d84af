//! Calls to the operating system, by seccomp: a short list of what remains, and everything else fails.
//!
//! What remains is what a computation needs: memory that is not executable, threads, time, and reading and writing what is open. There is
//! no call among it that opens a file or a socket, starts a program, reaches another process or asks for a privilege. What is not on the
//! list fails with `EPERM` rather than ending the process: a C library of another version tries things and does without.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Calls that remain whatever their arguments.
const OPEN: [libc::c_long; 34] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Answered by the other filter: of two that say no, the later one's word would hold.
    libc::SYS_clone3,
];

/// Closes every call but those of a computation.
pub(super) fn close() -> anyhow::Result<Vec<String>> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(missing()) };
    if !missing().is_empty() {
        return Ok(missing());
    }
    // `clone3` hides its flags behind a pointer; told that it does not exist, the C library takes `clone`, whose flags can be looked at.
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    apply(SeccompFilter::new(no_clone3, SeccompAction::Allow, no_such_call, arch))?;
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply(SeccompFilter::new(remaining()?, refused, SeccompAction::Allow, arch))?;
    Ok(Vec::new())
}

/// Whether this kernel has seccomp at all.
pub(super) fn missing() -> Vec<String> {
    let is_known = TargetArch::try_from(std::env::consts::ARCH).is_ok();
    let has = is_known && std::fs::read_to_string("/proc/self/status").map_or(true, |status| status.contains("\nSeccomp:"));
    if has {
        return Vec::new();
    }
    vec!["seccomp is missing: the compile child may make every call of the operating system, the network's among them".to_owned()]
}

fn apply(filter: Result<SeccompFilter, seccompiler::BackendError>) -> anyhow::Result<()> {
    let program: BpfProgram = filter.and_then(TryInto::try_into).context("seccomp")?;
    apply_filter(&program).context("seccomp")
}

fn remaining() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = OPEN.into_iter().map(|call| (call, Vec::new())).collect();
    let masked = |argument, mask: libc::c_int, value: libc::c_int| {
        let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value);
        condition.and_then(|condition| SeccompRule::new(vec![condition])).context("seccomp")
    };
    // The child writes machine code and never runs any: what it maps cannot be executed.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![masked(2, libc::PROT_EXEC, 0)?]);
    }
    // A thread, not a process.
    rules.insert(libc::SYS_clone, vec![masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
    // To itself only, so that an abort ends as one.
    let own = u64::from(std::process::id());
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own);
    let own = own.and_then(|own| SeccompRule::new(vec![own])).context("seccomp")?;
    rules.insert(libc::SYS_tgkill, vec![own]);
    Ok(rules)
}

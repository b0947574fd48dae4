// The app that every supervisor of this benchmark runs: says when it began and who it is, then sleeps until it is
// ended. Without a C library, whose own start takes longer than a good supervisor does: the first thing that happens
// is the look at the clock. Compiled with DETACHED it leaves its parent, as Monit wants its programs.

#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define MONOTONIC 1

static const struct sockaddr_un where = {AF_UNIX, WHERE};

#ifdef __x86_64__
__attribute__((force_align_arg_pointer))
#endif
void _start(void) {
    long began[2];
    syscall(SYS_clock_gettime, MONOTONIC, began);

#ifdef DETACHED
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != 0)
        syscall(SYS_exit_group, 0);
    syscall(SYS_setsid);
#endif
    int64_t birth[2] = {began[0] * INT64_C(1000000000) + began[1], syscall(SYS_getpid)};
    long out = syscall(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    syscall(SYS_sendto, out, birth, sizeof birth, 0, &where, sizeof where);
    for (;;)
        syscall(SYS_ppoll, 0, 0, 0, 0, 0);
}

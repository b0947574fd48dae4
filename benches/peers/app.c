// The app that every supervisor of this benchmark runs: says when it began and who it is, then sleeps until it is
// ended. As `app detached PIDFILE` it detaches and leaves its pid there, as Monit wants its programs. (s6 passes one
// argument of its own, which means nothing here.)

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);

    if (argc > 2) {
        if (fork() != 0)
            return 0;
        setsid();
        int file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dprintf(file, "%d\n", getpid());
        close(file);
    }
    int64_t birth[2] = {began.tv_sec * INT64_C(1000000000) + began.tv_nsec, getpid()};
    struct sockaddr_un where = {AF_UNIX, WHERE};
    int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sendto(out, birth, sizeof birth, 0, (struct sockaddr *)&where, sizeof where);
    for (;;)
        pause();
}

/* What keeps a pod's namespaces: waits for the end, and reaps what it is left with. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static void reap(int signal_number) {
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    struct sigaction child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};

    /* PID 1 gets only the signals that it has handlers for. */
    signal(SIGTERM, end);
    signal(SIGINT, end);
    sigaction(SIGCHLD, &child, NULL);
    for (;;) {
        pause();
    }
}

/* Two threads in a blocking connect get one signal that is sent to the process. With "restart" its
   handler asks for a restart; with "timeout" there is SO_SNDTIMEO as well, which rules it out. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct sockaddr_in peer = { .sin_family = AF_INET };
static struct timeval patience;
static int handled;

static void tick(int signal)
{
    (void)signal;
    __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

static void *go(void *unused)
{
    (void)unused;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) == 0)
        return "connected";
    switch (errno) {
    case EINPROGRESS: return "EINPROGRESS";
    case EINTR: return "EINTR";
    default: return errno > 500 ? "an errno of the kernel's own" : strerror(errno);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 || inet_pton(AF_INET, argv[1], &peer.sin_addr) != 1)
        return 2;
    peer.sin_port = htons(atoi(argv[2]));
    int alone = strcmp(argv[3], "alone") == 0;
    patience.tv_usec = 400000;
    struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval once = { { 0, 0 }, { 0, 100000 } };
    setitimer(ITIMER_REAL, &once, NULL);
    pthread_t other;
    void *result = "none";
    if (!alone)
        pthread_create(&other, NULL, go, NULL);
    const char *mine = go(NULL);
    if (!alone)
        pthread_join(other, &result);
    printf("main: %s, other: %s, handled: %d\n", mine, (char *)result, handled);
    return 0;
}

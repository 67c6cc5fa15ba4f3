/* Waits in a call whose buffer is memory behind which nobody answers page faults: in a recvfrom that has to wait, connected
 * to the port that is given, or with one thread in a read of a listening socket and another in accept. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *trap;
static int s;

static void *reader(void *unused)
{
    recv(s, trap, 1, 0);
    return unused;
}

int main(int argc, char **argv)
{
    int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = { .api = UFFD_API };
    if (fault < 0 || ioctl(fault, UFFDIO_API, &api) < 0) {
        perror("userfaultfd");
        return 1;
    }
    long page = sysconf(_SC_PAGESIZE);
    trap = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {
        .range = { .start = (unsigned long)trap, .len = page },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ioctl(fault, UFFDIO_REGISTER, &range) < 0) {
        perror("UFFDIO_REGISTER");
        return 1;
    }
    s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof name;
    if (argc > 1) {
        name.sin_port = htons(atoi(argv[1]));
        if (connect(s, (struct sockaddr *)&name, sizeof name) < 0) {
            perror("connect");
            return 1;
        }
        printf("held\n");
        fflush(stdout);
        recvfrom(s, trap, 1, 0, (struct sockaddr *)&name, &len);
        return 0;
    }
    bind(s, (struct sockaddr *)&name, sizeof name);
    listen(s, 16);
    getsockname(s, (struct sockaddr *)&name, &len);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    connect(c, (struct sockaddr *)&name, sizeof name);
    pthread_t thread;
    pthread_create(&thread, NULL, reader, NULL);
    /* Until it is stuck in a page fault. */
    char event[32];
    if (read(fault, event, sizeof event) <= 0)
        return 1;
    printf("held\n");
    fflush(stdout);
    accept(s, NULL, NULL);
    pause();
}

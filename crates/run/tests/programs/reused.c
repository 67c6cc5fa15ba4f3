/* A child dies in a getsockname whose length lies behind a page fault, and another is given its number. Then the fault is
 * answered: whoever goes on with the call must not write the name into the other's memory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* At the same places in both children. */
static unsigned char *const TRAP = (unsigned char *)0x600000000000;
static unsigned char *const TARGET = (unsigned char *)0x610000000000;

static void *map(void *at)
{
    return mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void put(int to, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = { 0 }, byte = 0;
    struct iovec piece = { &byte, 1 };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    sendmsg(to, &message, 0);
}

static int get(int from)
{
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec piece = { &byte, 1 };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    int fd = -1;
    if (recvmsg(from, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* Calls, and gives its page faults to the parent. */
static void caller(int parent)
{
    int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register range = { { (unsigned long)TRAP, 4096 }, UFFDIO_REGISTER_MODE_MISSING, 0 };
    map(TRAP);
    if (ioctl(fault, UFFDIO_API, &api) < 0 || ioctl(fault, UFFDIO_REGISTER, &range) < 0) {
        perror("userfaultfd");
        _exit(1);
    }
    int s = socket(AF_INET, SOCK_STREAM, 0);
    put(parent, fault);
    syscall(SYS_getsockname, s, TARGET, TRAP);
    _exit(0);
}

/* Has the dead one's number, and sees what happens to its memory until the parent says that all is over. */
static void heir(int parent)
{
    char byte = 1;
    map(TARGET);
    memset(TARGET, 0xaa, 16);
    if (write(parent, &byte, 1) != 1 || read(parent, &byte, 1) != 1)
        _exit(1);
    printf(TARGET[0] == 0xaa ? "not written\n" : "written\n");
    fflush(stdout);
    _exit(0);
}

int main(void)
{
    int pair[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pid_t first = fork();
    if (first == 0)
        caller(pair[1]);
    int fault = get(pair[0]);
    struct pollfd news = { fault, POLLIN, 0 };
    struct uffd_msg message;
    poll(&news, 1, 5000);
    if (read(fault, &message, sizeof message) <= 0)
        return 1;
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    pid_t second = 0;
    for (int i = 0; i < 50 && second != first; i++) {
        FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
        if (!last)
            return 1;
        fprintf(last, "%d", first - 1);
        fclose(last);
        second = fork();
        if (second == 0 && getpid() == first)
            heir(pair[1]);
        if (second == 0)
            _exit(0);
        if (second != first)
            waitpid(second, NULL, 0);
    }
    char byte;
    if (second != first || read(pair[0], &byte, 1) != 1) {
        printf("the number was not given again\n");
        return 1;
    }
    static unsigned char page[4096] __attribute__((aligned(4096)));
    page[0] = 16;
    struct uffdio_copy copy = { (unsigned long)TRAP, (unsigned long)page, 4096, 0, 0 };
    if (ioctl(fault, UFFDIO_COPY, &copy) < 0)
        perror("UFFDIO_COPY");
    /* A call of our own is answered after that one has been, or by another thread when that one is still at it. */
    for (int i = 0; i < 20; i++) {
        struct sockaddr_in name;
        socklen_t len = sizeof name;
        int s = socket(AF_INET, SOCK_STREAM, 0);
        getsockname(s, (struct sockaddr *)&name, &len);
        close(s);
    }
    usleep(50000);
    if (write(pair[0], &byte, 1) != 1)
        return 1;
    waitpid(second, NULL, 0);
    return 0;
}

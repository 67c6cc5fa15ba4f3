/* Passes memory to a call behind which nobody answers page faults. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int listens = argc > 1 && strcmp(argv[1], "accept") == 0;
    int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = { .api = UFFD_API };
    if (fault < 0 || ioctl(fault, UFFDIO_API, &api) < 0) {
        perror("userfaultfd");
        return 1;
    }
    long page = sysconf(_SC_PAGESIZE);
    void *trap = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {
        .range = { .start = (unsigned long)trap, .len = page },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ioctl(fault, UFFDIO_REGISTER, &range) < 0) {
        perror("UFFDIO_REGISTER");
        return 1;
    }
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (listens) {
        struct sockaddr_in any = { .sin_family = AF_INET };
        socklen_t len = sizeof any;
        bind(s, (struct sockaddr *)&any, sizeof any);
        listen(s, 16);
        getsockname(s, (struct sockaddr *)&any, &len);
        printf("%d\n", ntohs(any.sin_port));
        fflush(stdout);
        accept(s, trap, trap);
    } else {
        printf("held\n");
        fflush(stdout);
        connect(s, trap, sizeof(struct sockaddr_in));
    }
    return 0;
}

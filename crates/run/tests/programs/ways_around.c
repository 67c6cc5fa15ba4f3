/* Tries to get at sockets behind a filter's back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "ring") == 0) {
        char params[120] = { 0 };
        syscall(SYS_io_uring_setup, 1, params);
        printf("io_uring_setup: %s\n", strerror(errno));
        return 0;
    }
#ifdef __x86_64__
    /* getpid by the 32-bit gate. */
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "cc", "r8", "r9", "r10", "r11");
    printf("still here: %ld\n", result);
#endif
    return 0;
}

/* Connects, sends a pattern while a thread reads it back, half-closes, compares. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fd;
static long total;
static unsigned char *data;

static void *writer(void *unused)
{
    (void)unused;
    for (long sent = 0; sent < total;) {
        ssize_t n = write(fd, data + sent, total - sent);
        if (n <= 0) {
            perror("write");
            exit(1);
        }
        sent += n;
    }
    if (shutdown(fd, SHUT_WR) != 0) {
        perror("shutdown");
        exit(1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in peer = { .sin_family = AF_INET };
    if (argc != 4 || inet_pton(AF_INET, argv[1], &peer.sin_addr) != 1)
        return 2;
    peer.sin_port = htons(atoi(argv[2]));
    total = atol(argv[3]);
    data = malloc(total);
    for (long i = 0; i < total; i++)
        data[i] = i * 7 + i / 251;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) {
        perror("connect");
        return 1;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, writer, NULL);
    unsigned char *back = malloc(total + 1);
    long got = 0;
    for (ssize_t n; (n = read(fd, back + got, total + 1 - got)) > 0;)
        got += n;
    pthread_join(thread, NULL);
    if (got != total || memcmp(data, back, total) != 0)
        return 1;
    printf("%ld bytes echoed\n", got);
    return 0;
}

/*
 * The floor: what the kernel costs per query when no DNS is done at all.
 *
 * Receives a batch of datagrams, sets the QR bit and sends the batch back: one recvmmsg and one sendmmsg a batch, blocking,
 * one thread. Knows nothing of DNS beyond the place of that bit (RFC 1035 4.1.1), so no server can do the same work for less.
 *
 * Usage: bare_loop PORT (on 127.0.0.1)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    BATCH = 64,           /* datagrams a system call; more do not make it cheaper */
    DATAGRAM = 512,       /* octets; the questions are far shorter */
    FLAGS_OFFSET = 2,     /* octet of the header that holds QR */
    QR = 0x80,
};

static unsigned char octets[BATCH][DATAGRAM];
static struct sockaddr_in clients[BATCH];
static struct iovec buffers[BATCH];
static struct mmsghdr messages[BATCH];

static void fail(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return EXIT_FAILURE;
    }
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(argv[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (udp < 0 || bind(udp, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    for (int i = 0; i < BATCH; i++) {
        buffers[i].iov_base = octets[i];
        messages[i].msg_hdr.msg_iov = &buffers[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &clients[i];
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            buffers[i].iov_len = DATAGRAM;
            messages[i].msg_hdr.msg_namelen = sizeof clients[i];
        }
        int received = recvmmsg(udp, messages, BATCH, MSG_WAITFORONE, NULL);
        if (received < 0) {
            if (errno == EINTR)
                continue;
            fail("recvmmsg");
        }
        for (int i = 0; i < received; i++) {
            octets[i][FLAGS_OFFSET] |= QR;
            buffers[i].iov_len = messages[i].msg_len;
        }
        for (int sent = 0; sent < received;) {
            int more = sendmmsg(udp, messages + sent, (unsigned int)(received - sent), 0);
            if (more < 0)
                fail("sendmmsg");
            sent += more;
        }
    }
}

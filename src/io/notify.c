/* io: what a service manager is told (sd_notify(3)): one datagram a word, to the socket that
 * NOTIFY_SOCKET names. Without it nothing happens.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/io.h"

int notify_open(void) {
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = name ? strlen(name) : 0;
    if (!n || n >= sizeof a.sun_path || (name[0] != '/' && name[0] != '@')) return -1;
    memcpy(a.sun_path, name, n);
    if (name[0] == '@') a.sun_path[0] = 0; /* an abstract one */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&a,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0)
        return fd;
    close(fd);
    return -1;
}

void notify_say(int fd, const char *word) {
    if (fd >= 0) (void)!send(fd, word, strlen(word), MSG_NOSIGNAL);
}

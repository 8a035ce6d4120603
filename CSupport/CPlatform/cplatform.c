#define _GNU_SOURCE
#include "cplatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CP_RETRY(expression)                                   \
    ({                                                         \
        long long cp_result_;                                  \
        do {                                                   \
            cp_result_ = (long long)(expression);              \
        } while (cp_result_ < 0 && errno == EINTR);            \
        cp_result_ < 0 ? (long long)-errno : cp_result_;       \
    })

// ---- reading and writing -------------------------------------------------------------------

long long cp_read(int fd, void *to, size_t count) {
    return CP_RETRY(read(fd, to, count));
}

long long cp_send(int fd, const void *from, size_t count) {
    return CP_RETRY(send(fd, from, count, MSG_NOSIGNAL));
}

int cp_write_all(int fd, const void *from, size_t count) {
    const char *rest = (const char *)from;
    while (count > 0) {
        long long written = CP_RETRY(write(fd, rest, count));
        if (written < 0) return (int)written;
        rest += written;
        count -= (size_t)written;
    }
    return 0;
}

int cp_open_unnamed(const char *directory) {
    int fd = (int)CP_RETRY(open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    // Not every file system knows such files.
    if (fd != -EOPNOTSUPP && fd != -EISDIR) return fd;
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/df2redis-XXXXXX", directory);
    if (length < 0 || (size_t)length >= sizeof path) return -ENAMETOOLONG;
    fd = (int)CP_RETRY(mkostemp(path, O_CLOEXEC));
    if (fd >= 0 && unlink(path) != 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

int cp_write_at(int fd, const void *from, size_t count, long long position) {
    const char *rest = (const char *)from;
    while (count > 0) {
        long long written = CP_RETRY(pwrite(fd, rest, count, position));
        if (written < 0) return (int)written;
        rest += written;
        count -= (size_t)written;
        position += written;
    }
    return 0;
}

int cp_read_at(int fd, void *to, size_t count, long long position) {
    char *rest = (char *)to;
    while (count > 0) {
        long long got = CP_RETRY(pread(fd, rest, count, position));
        if (got < 0) return (int)got;
        if (got == 0) return -EIO;
        rest += got;
        count -= (size_t)got;
        position += got;
    }
    return 0;
}

long long cp_file_size(int fd) {
    struct stat status;
    long long result = CP_RETRY(fstat(fd, &status));
    return result < 0 ? result : (long long)status.st_size;
}

int cp_open_log(const char *path) {
    return (int)CP_RETRY(open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

int cp_cut_file(int fd, long long size) { return (int)CP_RETRY(ftruncate(fd, size)); }

int cp_sync_data(int fd) { return (int)CP_RETRY(fdatasync(fd)); }

int cp_replace_file(const char *directory, const char *name, const char *with) {
    int fd = (int)CP_RETRY(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) return fd;
    int result = (int)CP_RETRY(renameat(fd, with, fd, name));
    if (result == 0) result = (int)CP_RETRY(fsync(fd));
    close(fd);
    return result;
}

int cp_close(int fd) { return close(fd) < 0 && errno != EINTR ? -errno : 0; }

int cp_shutdown_write(int fd) { return (int)CP_RETRY(shutdown(fd, SHUT_WR)); }

// ---- polling -------------------------------------------------------------------------------

struct cp_poller {
    int fd;
    int count;
    struct epoll_event events[CP_EVENTS_PER_WAIT];
};

_Static_assert(CP_READABLE == EPOLLIN && CP_WRITABLE == EPOLLOUT && CP_ERROR == EPOLLERR &&
                   CP_HANGUP == EPOLLHUP && CP_PEER_CLOSED == EPOLLRDHUP,
               "event flags are epoll's");
_Static_assert(sizeof(struct sockaddr_storage) == 128, "cp_address holds a sockaddr_storage");

int cp_poller_create(cp_poller **out) {
    cp_poller *poller = (cp_poller *)calloc(1, sizeof(cp_poller));
    if (!poller) return -ENOMEM;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        free(poller);
        return -error;
    }
    poller->fd = fd;
    *out = poller;
    return 0;
}

void cp_poller_destroy(cp_poller *poller) {
    close(poller->fd);
    free(poller);
}

int cp_poller_add(cp_poller *poller, int fd, uint64_t token) {
    struct epoll_event event;
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = token;
    return (int)CP_RETRY(epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event));
}

int cp_poller_wait(cp_poller *poller, int64_t timeout_nanoseconds) {
    struct timespec limit = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    int count = epoll_pwait2(poller->fd, poller->events, CP_EVENTS_PER_WAIT,
                             timeout_nanoseconds < 0 ? NULL : &limit, NULL);
    if (count < 0) {
        poller->count = 0;
        return errno == EINTR ? 0 : -errno;
    }
    poller->count = count;
    return count;
}

uint64_t cp_poller_token(const cp_poller *poller, int index) {
    if (index < 0 || index >= poller->count) abort();
    return poller->events[index].data.u64;
}

uint32_t cp_poller_flags(const cp_poller *poller, int index) {
    if (index < 0 || index >= poller->count) abort();
    return poller->events[index].events;
}

// ---- sockets -------------------------------------------------------------------------------

int cp_resolve(const char *host, uint16_t port, cp_address *out) {
    struct addrinfo hints, *found = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0) return -1000 + code;
    if (found->ai_family == AF_INET)
        ((struct sockaddr_in *)found->ai_addr)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)found->ai_addr)->sin6_port = htons(port);
    memcpy(out->storage, found->ai_addr, found->ai_addrlen);
    out->length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

const char *cp_resolve_message(int code) {
    return code <= -1000 ? gai_strerror(code + 1000) : strerror(-code);
}

int cp_same_address(const cp_address *left, const cp_address *right) {
    return left->length == right->length &&
           memcmp(left->storage, right->storage, left->length) == 0;
}

int cp_connect_start(const cp_address *address,
                                   unsigned user_timeout_milliseconds) {
    const struct sockaddr *to = (const struct sockaddr *)address->storage;
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1, idle = 10, interval = 3, probes = 3;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_milliseconds,
                   sizeof user_timeout_milliseconds) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    long long result = CP_RETRY(connect(fd, to, address->length));
    if (result < 0 && result != -EINPROGRESS) {
        close(fd);
        return (int)result;
    }
    return fd;
}

int cp_socket_error(int fd) {
    int value = 0;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size) < 0) return -errno;
    return value;
}

int cp_pipe(int *reader, int *writer) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    *reader = ends[0];
    *writer = ends[1];
    return 0;
}

int cp_socket_pair(int *first, int *second) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    *first = pair[0];
    *second = pair[1];
    return 0;
}

int cp_listen_loopback(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int cp_local_port(int fd) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) return -errno;
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

int cp_accept(int listener) {
    int fd = (int)CP_RETRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    if (fd < 0) return fd;
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

// ---- threads, wake-ups, signals ------------------------------------------------------------

int cp_wakeup_create(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int cp_wakeup_signal(int fd) {
    uint64_t one = 1;
    long long result = CP_RETRY(write(fd, &one, sizeof one));
    return result < 0 && result != -EAGAIN ? (int)result : 0;
}

int cp_wakeup_clear(int fd) {
    uint64_t value;
    long long result = CP_RETRY(read(fd, &value, sizeof value));
    return result < 0 && result != -EAGAIN ? (int)result : 0;
}

int cp_cpu_at(int n) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return -errno;
    int available = CPU_COUNT(&set);
    if (available <= 0) return -EINVAL;
    int wanted = n % available;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set) && wanted-- == 0) return cpu;
    return -EINVAL;
}

int cp_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return -errno;
    return CPU_COUNT(&set);
}

int cp_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

int cp_pin_thread(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int cp_name_thread(const char *name) {
    return -pthread_setname_np(pthread_self(), name);
}

int cp_signal_descriptor(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code != 0) return -code;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int cp_signal_next(int fd) {
    struct signalfd_siginfo info;
    long long result = CP_RETRY(read(fd, &info, sizeof info));
    if (result == -EAGAIN) return 0;
    return result < 0 ? (int)result : (int)info.ssi_signo;
}

int cp_wait_two(int first, int second, int timeout_milliseconds) {
    struct pollfd fds[2] = {{first, POLLIN, 0}, {second, POLLIN, 0}};
    int count = poll(fds, 2, timeout_milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    return (fds[0].revents ? 1 : 0) | (fds[1].revents ? 2 : 0);
}

// ---- local sockets and locks ---------------------------------------------------------------

// Fills in the address, of a path that is too long for it through the open directory. Returns -errno,
// or the directory's descriptor.
static int local_address(const char *directory, const char *name, struct sockaddr_un *address) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length =
        snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, name);
    if (length >= 0 && (size_t)length >= sizeof address->sun_path) {
        length = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", fd,
                          name);
    }
    if (length < 0 || (size_t)length >= sizeof address->sun_path) {
        close(fd);
        return -ENAMETOOLONG;
    }
    return fd;
}

int cp_local_listen(const char *directory, const char *name) {
    struct sockaddr_un address;
    int parent = local_address(directory, name, &address);
    if (parent < 0) return parent;
    int result = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        result = -errno;
    } else {
        mode_t before = umask(0177);
        if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
            result = -errno;
        } else if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
                   listen(fd, 16) != 0) {
            result = -errno;
        }
        umask(before);
    }
    close(parent);
    if (result != 0 && fd >= 0) close(fd);
    return result != 0 ? result : fd;
}

int cp_local_connect(const char *directory, const char *name, int timeout_milliseconds) {
    struct sockaddr_un address;
    int parent = local_address(directory, name, &address);
    if (parent < 0) return parent;
    int result = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {timeout_milliseconds / 1000, timeout_milliseconds % 1000 * 1000};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
        CP_RETRY(connect(fd, (struct sockaddr *)&address, sizeof address)) < 0) {
        result = -errno;
    }
    close(parent);
    if (result != 0 && fd >= 0) close(fd);
    return result != 0 ? result : fd;
}

int cp_local_accept(int fd) {
    return (int)CP_RETRY(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int cp_lock_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

int cp_wait_writable(int fd, int timeout_milliseconds) {
    struct pollfd poller = {fd, POLLOUT, 0};
    return (int)CP_RETRY(poll(&poller, 1, timeout_milliseconds));
}

// ---- clocks --------------------------------------------------------------------------------

int64_t cp_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t cp_unix_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t cp_process_cpu_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// ---- memory --------------------------------------------------------------------------------

int cp_ring_map(size_t capacity, void **out) {
    int fd = memfd_create("df2redis-ring", MFD_CLOEXEC);
    if (fd < 0) return -errno;
    if (ftruncate(fd, (off_t)capacity) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    char *base = (char *)mmap(NULL, capacity * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        int error = errno;
        close(fd);
        return -error;
    }
    for (int half = 0; half < 2; half++) {
        if (mmap(base + (size_t)half * capacity, capacity, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
            int error = errno;
            munmap(base, capacity * 2);
            close(fd);
            return -error;
        }
    }
    close(fd);
    *out = base;
    return 0;
}

void cp_ring_unmap(void *base, size_t capacity) {
    munmap(base, capacity * 2);
}

int cp_region_resize(void *base, size_t old_size, size_t new_size,
                                   void **out) {
    void *region = base ? mremap(base, old_size, new_size, MREMAP_MAYMOVE)
                        : mmap(NULL, new_size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED) return -errno;
    *out = region;
    return 0;
}

void cp_region_unmap(void *base, size_t size) { munmap(base, size); }

// Linux calls that Swift's Glibc module does not offer (epoll, eventfd, memfd, affinity,
// variadic system calls).
//
// Every function retries EINTR and returns a value >= 0 on success and -errno on failure, unless
// its comment says otherwise. None allocates after cp_poller_create.
//
// The header includes no system header: Swift's Glibc module is built without _GNU_SOURCE, and two
// views of one header do not mix.
#ifndef CPLATFORM_H
#define CPLATFORM_H

#include <stddef.h>
#include <stdint.h>

// ---- reading and writing -------------------------------------------------------------------

long long cp_read(int fd, void *_Nonnull to, size_t count);

// Sends without SIGPIPE; a closed peer is -EPIPE.
long long cp_send(int fd, const void *_Nonnull from, size_t count);

// Writes all bytes to a file, in as many calls as it takes: 0 or -errno.
int cp_write_all(int fd, const void *_Nonnull from, size_t count);

long long cp_file_size(int fd);

// Opens a file for reading and appending; creates it if it is missing.
int cp_open_log(const char *_Nonnull path);

// Keeps the first bytes of a file only.
int cp_cut_file(int fd, long long size);

// Waits until a file's bytes are on its device.
int cp_sync_data(int fd);

// Opens a file without a name in a directory, for reading and writing.
int cp_open_unnamed(const char *_Nonnull directory);

// Writes or reads all of it at a position. A file that ends before is an error (-EIO).
int cp_write_at(int fd, const void *_Nonnull from, size_t count, long long position);
int cp_read_at(int fd, void *_Nonnull to, size_t count, long long position);
// Gives the file `with` the name `name`, both in a directory; the file that had it is gone. On the
// device when it returns.
int cp_replace_file(const char *_Nonnull directory, const char *_Nonnull name,
                    const char *_Nonnull with);

int cp_close(int fd);

int cp_shutdown_write(int fd);

// ---- polling -------------------------------------------------------------------------------

enum { CP_EVENTS_PER_WAIT = 256 };

// Event flags, as epoll numbers them.
enum : uint32_t {
    CP_READABLE = 0x1,
    CP_WRITABLE = 0x4,
    CP_ERROR = 0x8,
    CP_HANGUP = 0x10,
    CP_PEER_CLOSED = 0x2000,
};

// An epoll instance and the events of its last wait.
typedef struct cp_poller cp_poller;

int cp_poller_create(cp_poller *_Nullable *_Nonnull out);

void cp_poller_destroy(cp_poller *_Nonnull poller);

// Registers fd once, edge-triggered, for both directions; token comes back with each event.
int cp_poller_add(cp_poller *_Nonnull poller, int fd, uint64_t token);

// Waits for events; a negative timeout waits without limit. Returns the number of events.
int cp_poller_wait(cp_poller *_Nonnull poller, int64_t timeout_nanoseconds);

// index must be below the count that the last wait returned.
uint64_t cp_poller_token(const cp_poller *_Nonnull poller, int index);

uint32_t cp_poller_flags(const cp_poller *_Nonnull poller, int index);

// ---- sockets -------------------------------------------------------------------------------

// A socket address; the bytes are a sockaddr_storage.
typedef struct cp_address {
    _Alignas(8) uint8_t storage[128];
    uint32_t length;
} cp_address;

// Looks host up (this may block on DNS). Returns 0, or the positive EAI_ code of getaddrinfo
// negated and shifted by 1000, so that it cannot be taken for an errno: see cp_resolve_message.
int cp_resolve(const char *_Nonnull host, uint16_t port, cp_address *_Nonnull out);

const char *_Nonnull cp_resolve_message(int code);

// Not 0 if both lead to the same place.
int cp_same_address(const cp_address *_Nonnull left, const cp_address *_Nonnull right);

// Starts a non-blocking connection: no delay, keepalive after 10 s, and a connection whose data
// stays unacknowledged for user_timeout_milliseconds is dropped by the kernel.
int cp_connect_start(const cp_address *_Nonnull address,
                                   unsigned user_timeout_milliseconds);

// The pending error of a socket as a positive errno, 0 if there is none, -errno if asking failed.
int cp_socket_error(int fd);

// Two connected, non-blocking stream sockets.
int cp_socket_pair(int *_Nonnull first, int *_Nonnull second);

// A blocking pipe that is closed in programs started by this one.
int cp_pipe(int *_Nonnull reader, int *_Nonnull writer);

// A blocking listener on 127.0.0.1; port 0 lets the kernel choose.
int cp_listen_loopback(uint16_t port);

// The local port of a socket.
int cp_local_port(int fd);

// Accepts a blocking connection without delay.
int cp_accept(int listener);

// ---- threads, wake-ups, signals ------------------------------------------------------------

int cp_wakeup_create(void);

int cp_wakeup_signal(int fd);

int cp_wakeup_clear(int fd);

// The n-th CPU (from 0, wrapping) of the process's affinity mask, or -errno.
int cp_cpu_at(int n);

int cp_cpu_count(void);

// Lets this process open as many descriptors as it may at most. Returns 0 or -errno.
int cp_raise_descriptor_limit(void);

// Pins the calling thread to one CPU.
int cp_pin_thread(int cpu);

// Names the calling thread; at most 15 bytes.
int cp_name_thread(const char *_Nonnull name);

// Blocks SIGINT and SIGTERM for this thread and those it starts and ignores SIGPIPE and SIGHUP;
// the returned descriptor becomes readable when a blocked one arrives.
int cp_signal_descriptor(void);

// The number of the next signal, 0 if none is waiting, or -errno.
int cp_signal_next(int fd);

// Waits until one of two descriptors is readable (a negative one is left out).
// Returns bit 0 for the first, bit 1 for the second, 0 after the timeout.
int cp_wait_two(int first, int second, int timeout_milliseconds);

// ---- local sockets and locks ---------------------------------------------------------------

// Listens on a local stream socket directory/name, of whatever length, that only this user may connect
// to (mode 0600). Replaces a file of that name. A path that does not fit an address (107 bytes) is
// reached through the directory's descriptor in /proc. Returns the descriptor (non-blocking) or -errno.
int cp_local_listen(const char *_Nonnull directory, const char *_Nonnull name);

// Connects to it. Returns the descriptor (blocking, each read or write at most timeout_milliseconds)
// or -errno: -ENOENT without such a file, -ECONNREFUSED if nobody listens.
int cp_local_connect(const char *_Nonnull directory, const char *_Nonnull name,
                     int timeout_milliseconds);

// The next connection of a listening socket (non-blocking), or -errno: -EAGAIN if there is none.
int cp_local_accept(int fd);

// Opens and locks a file, which is made with mode 0600 if missing, until its descriptor is closed or
// the process ends. Returns the descriptor, or -errno: -EWOULDBLOCK while another holds it.
int cp_lock_file(const char *_Nonnull path);

// Waits until a descriptor is writable: 1, or 0 after the timeout.
int cp_wait_writable(int fd, int timeout_milliseconds);

// ---- clocks --------------------------------------------------------------------------------

int64_t cp_monotonic_nanoseconds(void);

int64_t cp_unix_milliseconds(void);

// CPU time of the whole process, user and system.
int64_t cp_process_cpu_nanoseconds(void);

// ---- memory --------------------------------------------------------------------------------

// Maps a ring of capacity bytes (a multiple of the page size) twice, back to back, so that any
// window of at most capacity bytes that starts in the first half is contiguous.
int cp_ring_map(size_t capacity, void *_Nullable *_Nonnull out);

void cp_ring_unmap(void *_Nonnull base, size_t capacity);

// Grows (or shrinks) an anonymous mapping; base may be NULL for a new one. The mapping may move.
int cp_region_resize(void *_Nullable base, size_t old_size, size_t new_size,
                                   void *_Nullable *_Nonnull out);

void cp_region_unmap(void *_Nonnull base, size_t size);

#endif

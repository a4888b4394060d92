// Strict order between processes: a queue of byte-range locks on a sidecar file. See docs/fairness.md for the whole.
//
//   byte BASE + t       locked exclusively by the process with ticket t, until it has the main lock or cancels; a
//                       process that dies drops it, and so the queue repairs itself
//   BASE + t … LAST     all of them, for the moment in which ticket t is taken: none that is later is there, and no
//                       other process takes one meanwhile
//   byte MODES + t      locked shared by the process with ticket t if its request is for a shared lock. Nothing depends
//                       on it: it tells other processes which kind of lock is waited for
//
// The content is a magic header, so that no file of another program is ever written, and the number after the last
// ticket that was not the first of an empty queue. Nothing depends on that number but speed: it is only a guess where
// the free bytes begin, and the lock on all bytes from there on tells whether it is right.
// Every ticket has an open file of its own, so all tickets are seen by all others, and closing it drops everything.
#ifndef FAIRLOCK_TICKET_H
#define FAIRLOCK_TICKET_H

#include <stdint.h>
#include <string.h>

#include "lock.h"

#define TICKET_MAGIC "fairlock-queue 2"
#define TICKET_BASE ((off_t)4096)
#define TICKET_LIMIT ((int64_t)1 << 51)
#define TICKET_MODES ((off_t)1 << 52)  // exact as a number of JavaScript, as all bytes are
#define TICKET_LAST (TICKET_MODES - 1)
// Locked ranges that are skipped in the search for a free ticket. Tickets are at most some dozens for each thread; more
// ranges than this were locked to keep others out.
#define TICKET_RANGES 4096
#define NO_TICKET ((int64_t)-1)

typedef struct {
  char magic[16];
  int64_t next;
} ticket_header;

// A process's place in the queue, by one open file.
typedef struct {
  int64_t ticket;      // NO_TICKET: none
  bool first;          // no other process has an earlier one
  int64_t busy_since;  // the last ticket, if there were others; else NO_TICKET
} ticket_place;

static const ticket_place NO_PLACE = {.ticket = NO_TICKET, .busy_since = NO_TICKET};

#ifdef _WIN32
#include "windows_ticket.h"
#else
#define TICKET_IS_ITS_WAITS false

typedef struct {
  ticket_header header;
  ssize_t size;
  bool ours;  // it was read, and may be written
} ticket_content;

static inline int ticket_bytes(lock_fd fd, off_t from, off_t to, short type, bool wait) {
  lock_target target = {.fd = fd, .ofd = true, .start = from, .length = to - from + 1};
  return lock_call(&target, type, wait);
}

// 0: there is no ticket. EAGAIN: there is one. ESTALE: this sidecar was removed. Some FUSE programs tell no link counts:
// of a file without links it is compared what is at the path.
static inline int ticket_queue_empty(lock_fd fd, const lock_identity *identity) {
  struct stat stat;
  int error;
  if (fstat(fd, &stat) != 0) return errno;
  if (stat.st_nlink == 0 && (error = check_identity(identity, fd)) != 0) return error;
  off_t found = range_conflict(fd, F_RDLCK, TICKET_BASE, TICKET_LAST, NULL, &error);
  return error != 0 ? error : found < 0 ? 0 : EAGAIN;
}

// 0: there is no earlier ticket, and will be none. EAGAIN: there is one. F_RDLCK, so that only tickets answer: shared
// locks are of processes that wait for their predecessors, and a process that is stopped there must not block the first
// of the queue.
static inline int ticket_is_first(lock_fd fd, ticket_place *place, off_t *earlier) {
  int error = 0;
  *earlier = place->first ? -1 : range_conflict(fd, F_RDLCK, TICKET_BASE, TICKET_BASE + place->ticket - 1, NULL, &error);
  place->first = error == 0 && *earlier < 0;
  return error != 0 ? error : place->first ? 0 : EAGAIN;
}

// The ticket after the last byte that any process has locked, shared or not. A process that may only read the sidecar
// can lock ranges too (shared): EBUSY if they leave no ticket, or are so many that they were made to keep others busy.
static inline int64_t ticket_after_all_others(lock_fd fd, int *error) {
  off_t after = TICKET_BASE;
  for (int ranges = 0; ranges < TICKET_RANGES; ranges++) {
    off_t next = -1;
    if (range_conflict(fd, F_WRLCK, after, TICKET_LAST, &next, error) < 0) return after - TICKET_BASE;
    if (next < 0 || next - TICKET_BASE >= TICKET_LIMIT) break;
    after = next;
  }
  *error = EBUSY;
  return -1;
}

// What the file says, as a guess: the number behind the last ticket.
static inline int ticket_read(lock_fd fd, ticket_content *content) {
  struct stat stat;
  content->size = pread(fd, &content->header, sizeof content->header, 0);
  if (content->size < 0) return errno;
  // Ours to write: a sidecar's content, or none at all in a file that has no other name.
  if (content->size >= 16) content->ours = memcmp(content->header.magic, TICKET_MAGIC, 16) == 0;
  else content->ours = content->size == 0 && fstat(fd, &stat) == 0 && stat.st_nlink == 1;
  bool told = content->ours && content->size == sizeof content->header;
  int64_t next = content->header.next;
  content->header.next = told && next > 0 && next < TICKET_LIMIT ? next : 1;
  return 0;
}

// A disk that is full is no reason to fail: the locks tell the next ticket.
static inline void ticket_write(lock_fd fd, ticket_content *content, int64_t next) {
  bool complete = content->size == sizeof content->header;
  memcpy(content->header.magic, TICKET_MAGIC, 16);
  content->header.next = next;
  ssize_t written =
      complete ? pwrite(fd, &content->header.next, 8, 16) : pwrite(fd, &content->header, sizeof content->header, 0);
  (void)written;
}

// Whether a process that takes no part in the queue has the last byte locked. Those that take tickets lock it
// exclusively, which a process that may only read the sidecar cannot.
static inline bool ticket_is_kept_out(lock_fd fd) {
  struct flock range = byte_range(F_WRLCK, TICKET_LAST, 1);
  return fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type == F_RDLCK;
}

// Locks all bytes from a free ticket on. EAGAIN: another process is taking one, and `wait` is false.
static inline int ticket_lock_free(lock_fd fd, bool wait, bool busy, ticket_content *content, int64_t *ticket) {
  // 1. Nothing at all is locked: the queue is empty.
  *ticket = 0;
  int error = busy ? EAGAIN : ticket_bytes(fd, TICKET_BASE, TICKET_LAST, F_WRLCK, false);
  if (error != EAGAIN) return error;
  // 2. Behind the last ticket, as the file tells it.
  error = ticket_read(fd, content);
  if (error != 0) return error;
  *ticket = content->header.next;
  error = ticket_bytes(fd, TICKET_BASE + *ticket, TICKET_LAST, F_WRLCK, false);
  if (error != EAGAIN) return error;
  // 3. What the file tells is too low, or another process is taking a ticket, which has the last byte locked.
  if (ticket_is_kept_out(fd)) return EBUSY;
  error = ticket_bytes(fd, TICKET_LAST, TICKET_LAST, F_WRLCK, wait);
  if (error != 0) return error;
  *ticket = ticket_after_all_others(fd, &error);
  if (error == 0) error = ticket_bytes(fd, TICKET_BASE + *ticket, TICKET_LAST, F_WRLCK, false);
  // No process takes a ticket now: a byte that is contended all the same is locked by one that does not queue.
  return error == EAGAIN ? EBUSY : error;
}

// 0, EAGAIN (another process is taking one, and `wait` is false), ESTALE (this sidecar is not at its path), EINTR, …
// EBUSY: locks of another process leave no ticket.
static inline int ticket_take(lock_fd fd, const lock_identity *identity, bool shared, bool wait, ticket_place *place) {
  ticket_content content = {0};
  int64_t free;
  // Where there were others the last time, and have been since, the queue is hardly empty.
  int error = ticket_lock_free(fd, wait, place->busy_since != NO_TICKET, &content, &free);
  if (error == EAGAIN) return error;
  if (error == 0) error = check_identity(identity, fd);
  if (error != 0) {
    ticket_bytes(fd, TICKET_BASE, TICKET_LAST, F_UNLCK, false);
    return error;
  }
  if (shared) ticket_bytes(fd, TICKET_MODES + free, TICKET_MODES + free, F_RDLCK, false);
  if (content.ours) ticket_write(fd, &content, free + 1);
  ticket_bytes(fd, TICKET_BASE + free + 1, TICKET_LAST, F_UNLCK, false);
  bool alone = free == 0 || content.header.next == place->busy_since + 1;
  *place = (ticket_place){.ticket = free, .first = free == 0, .busy_since = alone ? NO_TICKET : free};
  return 0;
}

// The ticket, and what is left of waiting with it.
static inline void ticket_drop(lock_fd fd, ticket_place *place) {
  lock_target all = {.fd = fd, .ofd = true, .start = TICKET_BASE};
  lock_undo(&all);
  place->ticket = NO_TICKET;
  place->first = false;
}

// One step of waiting until there is no earlier ticket: EAGAIN, then `*wait_for` is the next byte to wait for; at first
// it is ticket_predecessor(). 1. For the predecessor's. 2. When that is dropped, its process may have cancelled while an
// earlier ticket is still there: so it looks, and waits for the one it finds. Can be begun again after EINTR. The shared
// locks that are granted on the way block no process, and go with the ticket.
static inline int ticket_wait_step(lock_fd fd, ticket_place *place, off_t *wait_for) {
  if (place->first) return 0;
  int error = ticket_bytes(fd, *wait_for, *wait_for, F_RDLCK, true);
  return error != 0 ? error : ticket_is_first(fd, place, wait_for);
}

static inline off_t ticket_predecessor(lock_fd fd, const ticket_place *place) {
  (void)fd;
  return TICKET_BASE + place->ticket - 1;
}

// Removes a sidecar without tickets: it has all of their bytes locked. Only for the holder of the main lock, so that no
// other process is first meanwhile.
//   1. B opens the sidecar. 2. A locks all tickets, and removes it. 3. C makes a new sidecar and takes its first ticket.
//   4. B takes the first ticket of the old one: two are first.
// So B compares the sidecar with the one at its path after it has taken its ticket, and begins again.
static inline int ticket_remove_sidecar(lock_fd fd, const lock_identity *identity) {
  int error = ticket_bytes(fd, TICKET_BASE, TICKET_LAST, F_WRLCK, false);
  if (error != 0) return error;
  error = check_identity(identity, fd);
  if (error == 0 && unlink(identity->path) != 0) error = errno;
  ticket_bytes(fd, TICKET_BASE, TICKET_LAST, F_UNLCK, false);
  return error;
}
#endif

#endif

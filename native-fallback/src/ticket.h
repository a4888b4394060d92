// Strict order between processes: a queue of byte-range locks on a sidecar file. See docs/fairness.md for the whole.
//
//   byte 0            locked for the moment in which a process takes a ticket
//   byte BASE + t     locked exclusively by the process with ticket t, until it has the main lock or cancels; a process
//                     that dies drops it, and so the queue repairs itself
//
//   byte MODES + t    locked shared by the process with ticket t if its request is for a shared lock. Nothing depends
//   on
//                     it: it tells other processes which kind of lock is waited for
//
// The content is a magic header, so that no file of another program is ever written, and a counter of tickets. Nothing
// depends on the counter but speed: where it is missing or wrong the locks themselves tell the next ticket.
// Every ticket has an open file of its own, so all tickets are seen by all others, and closing it drops everything.
#ifndef FAIRLOCK_TICKET_H
#define FAIRLOCK_TICKET_H

#include <stdint.h>
#include <string.h>

#include "lock.h"

#define TICKET_MAGIC "fairlock-queue 1"
#define TICKET_BASE ((off_t)4096)
#define TICKET_LIMIT ((int64_t)1 << 51)
#define TICKET_MODES ((off_t)1 << 52)  // exact as a number of JavaScript, as all bytes are
// Locked ranges that are skipped in the search for a free ticket. Tickets are at most some dozens for each thread; more
// ranges than this were locked to keep others out.
#define TICKET_RANGES 4096
#define NO_TICKET ((int64_t)-1)

typedef struct {
  char magic[16];
  int64_t next;
} ticket_header;

static inline int ticket_byte(int fd, off_t byte, short type, bool wait) {
  lock_target target = {.fd = fd, .ofd = true, .start = byte, .length = 1};
  return lock_call(&target, type, wait);
}

// A lock in [from, to] (to < 0: to the end) that conflicts with `type`, held by another open file: its first byte
// there;
// -1 if there is none. `after`, if not NULL: the first byte behind it, -1 if it goes to the end.
static inline off_t ticket_conflict(int fd, short type, off_t from, off_t to, off_t *after, int *error) {
  struct flock range = byte_range(type, from, to < 0 ? 0 : to - from + 1);
  *error = fcntl(fd, F_OFD_GETLK, &range) == 0 ? 0 : errno;
  if (*error != 0 || range.l_type == F_UNLCK) return -1;
  if (after != NULL) *after = range.l_len == 0 ? -1 : range.l_start + range.l_len;
  return range.l_start < from ? from : range.l_start;
}

static inline off_t ticket_taken(int fd, short type, off_t from, off_t to, int *error) {
  return ticket_conflict(fd, type, from, to, NULL, error);
}

// 0: there is no ticket. EAGAIN: there is one. ESTALE: this sidecar was removed.
static inline int ticket_queue_empty(int fd) {
  struct stat stat;
  int error;
  if (fstat(fd, &stat) != 0) return errno;
  if (stat.st_nlink == 0) return ESTALE;
  off_t found = ticket_taken(fd, F_RDLCK, TICKET_BASE, TICKET_MODES - 1, &error);
  return error != 0 ? error : found < 0 ? 0 : EAGAIN;
}

// 0: there is no earlier ticket. EAGAIN: there is one. F_RDLCK, so that only tickets answer: shared locks are of
// processes that wait for their predecessors, and a process that is stopped there must not block the first of the
// queue.
static inline int ticket_is_first(int fd, int64_t ticket, off_t *earlier) {
  int error = 0;
  *earlier = ticket == 0 ? -1 : ticket_taken(fd, F_RDLCK, TICKET_BASE, TICKET_BASE + ticket - 1, &error);
  return error != 0 ? error : *earlier < 0 ? 0 : EAGAIN;
}

// The ticket after the last byte that any process has locked, shared or not. A process that may only read the sidecar
// can lock ranges too (shared): EBUSY if they leave no ticket, or are so many that they were made to keep others busy.
static inline int64_t ticket_after_all_others(int fd, off_t from, int *error) {
  off_t after = from;
  for (int ranges = 0; ranges < TICKET_RANGES; ranges++) {
    off_t next = -1;
    if (ticket_conflict(fd, F_WRLCK, after, TICKET_MODES - 1, &next, error) < 0) return after - TICKET_BASE;
    if (next < 0 || next - TICKET_BASE >= TICKET_LIMIT) break;
    after = next;
  }
  *error = EBUSY;
  return -1;
}

// Whether the content is ours to write: a sidecar's, or none at all in a file that has no other name.
static inline bool ticket_is_ours(int fd, const ticket_header *header, ssize_t size) {
  struct stat stat;
  if (size >= 16) return memcmp(header->magic, TICKET_MAGIC, 16) == 0;
  return size == 0 && fstat(fd, &stat) == 0 && stat.st_nlink == 1;
}

// With byte 0 held.
static inline int ticket_take_inside(int fd, const lock_identity *identity, bool shared, int64_t *ticket) {
  ticket_header header = {0};
  int error = check_identity(identity, fd);
  if (error != 0) return error;
  ssize_t size = pread(fd, &header, sizeof header, 0);
  if (size < 0) return errno;
  bool ours = ticket_is_ours(fd, &header, size);
  bool counted = ours && size == sizeof header && header.next >= 0 && header.next < TICKET_LIMIT;
  int64_t next = counted ? header.next : 0;

  // A counter that is too low would put this request before others: so nothing may be locked from it on.
  off_t last = ticket_taken(fd, F_WRLCK, TICKET_BASE + next, TICKET_MODES - 1, &error);
  if (error == 0 && last >= 0) next = ticket_after_all_others(fd, TICKET_BASE, &error);
  if (error == 0) error = ticket_byte(fd, TICKET_BASE + next, F_WRLCK, false);
  if (error != 0) return error;
  if (shared) ticket_byte(fd, TICKET_MODES + next, F_RDLCK, false);
  *ticket = next;
  if (ours) {
    memcpy(header.magic, TICKET_MAGIC, 16);
    header.next = next + 1;
    bool complete = size == sizeof header;
    // A disk that is full is no reason to fail: the locks tell the next ticket.
    ssize_t written = complete ? pwrite(fd, &header.next, 8, 16) : pwrite(fd, &header, sizeof header, 0);
    (void)written;
  }
  return 0;
}

// 0, EAGAIN (another process is taking one, and `wait` is false), ESTALE (this sidecar is not at its path), EINTR, …
// EBUSY: locks of another process leave no ticket.
static inline int ticket_take(int fd, const lock_identity *identity, bool shared, bool wait, int64_t *ticket) {
  int error = ticket_byte(fd, 0, F_WRLCK, wait);
  if (error != 0) return error;
  error = ticket_take_inside(fd, identity, shared, ticket);
  ticket_byte(fd, 0, F_UNLCK, false);
  // Tickets are taken with byte 0 held only: a byte that is contended all the same is locked by a process that does not
  // queue.
  return error == EAGAIN ? EBUSY : error;
}

// The ticket, and what is left of waiting with it.
static inline void ticket_drop(int fd) {
  lock_target all = {.fd = fd, .ofd = true, .start = TICKET_BASE};
  lock_undo(&all);
}

// Waits until there is no earlier ticket. 1. For the predecessor's. 2. When that is dropped, its process may have
// cancelled while an earlier ticket is still there: so it looks, and waits for the one it finds. Can be begun again
// after EINTR. The shared locks that are granted on the way block no process, and go with the ticket.
static inline int ticket_wait_turn(int fd, int64_t ticket) {
  off_t wait_for = TICKET_BASE + ticket - 1;
  while (ticket > 0) {
    int error = ticket_byte(fd, wait_for, F_RDLCK, true);
    if (error != 0) return error;
    error = ticket_is_first(fd, ticket, &wait_for);
    if (error != EAGAIN) return error;
  }
  return 0;
}

// Removes a sidecar without tickets. Only for the holder of the main lock: no other process is first then, and a
// process that takes a ticket after this finds, under byte 0, that the sidecar is not at its path any more.
static inline int ticket_remove_sidecar(int fd, const lock_identity *identity) {
  int error = ticket_byte(fd, 0, F_WRLCK, false);
  if (error != 0) return error;
  off_t found = ticket_taken(fd, F_WRLCK, 1, -1, &error);
  if (error == 0 && found >= 0) error = EAGAIN;
  if (error == 0) error = check_identity(identity, fd);
  if (error == 0 && unlink(identity->path) != 0) error = errno;
  ticket_byte(fd, 0, F_UNLCK, false);
  return error;
}

#endif

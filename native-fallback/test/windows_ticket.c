// The queue of Windows (windows_ticket.h) on a model of LockFileEx, in which the locks of one open file exclude each other
// as well: what each process is told of its place, against a plain list of tickets, while they come and go at random and
// what the file tells is wrong. Ends with an error of assert() if anything is.
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define FAIRLOCK_LOCK_H  // in its place:
typedef int lock_fd;
typedef uint32_t DWORD;
typedef struct {
  DWORD Offset, OffsetHigh;
} OVERLAPPED;
typedef struct {
  bool is_at_path;
} lock_identity;
enum { LOCKFILE_FAIL_IMMEDIATELY = 1, LOCKFILE_EXCLUSIVE_LOCK = 2, MOST_LOCKS = 64, LOCK_TRIES = 1000, PROCESSES = 12, STRANGER = 99 };

static struct {
  lock_fd fd;
  off_t from, length;
  bool shared;
} locks[MOST_LOCKS];
static int lock_count;
static char content[64];
static DWORD content_size;

static int range_lock(lock_fd fd, DWORD flags, off_t from, off_t length) {
  bool shared = (flags & LOCKFILE_EXCLUSIVE_LOCK) == 0;
  assert(length > 0);
  for (int i = 0; i < lock_count; i++) {
    bool apart = locks[i].from + locks[i].length <= from || from + length <= locks[i].from;
    if (apart || (shared && locks[i].shared)) continue;
    assert((flags & LOCKFILE_FAIL_IMMEDIATELY) != 0);  // nothing here waits for what is held
    return EAGAIN;
  }
  assert(lock_count < MOST_LOCKS);
  locks[lock_count].fd = fd;
  locks[lock_count].from = from;
  locks[lock_count].length = length;
  locks[lock_count++].shared = shared;
  return 0;
}

static int range_unlock(lock_fd fd, off_t from, off_t length) {
  for (int i = 0; i < lock_count; i++) {
    if (locks[i].fd != fd || locks[i].from != from || locks[i].length != length) continue;
    locks[i] = locks[--lock_count];
    return 0;
  }
  assert(!"unlocked, though it was not locked");
  return EINVAL;
}

static int check_identity(const lock_identity *identity, lock_fd fd) {
  (void)fd;
  return identity->is_at_path ? 0 : ESTALE;
}

static int lock_remove(const lock_identity *identity) {
  ((lock_identity *)identity)->is_at_path = false;
  return 0;
}

static bool ReadFile(lock_fd fd, void *to, DWORD most, DWORD *size, OVERLAPPED *start) {
  (void)fd, (void)start;
  *size = content_size < most ? content_size : most;
  memcpy(to, content, *size);
  return true;
}

static bool WriteFile(lock_fd fd, const void *from, DWORD size, DWORD *written, OVERLAPPED *start) {
  (void)fd, (void)start;
  memcpy(content, from, size);
  *written = content_size = size;
  return true;
}

#define _WIN32
#include "../src/ticket.h"

static lock_identity sidecar = {.is_at_path = true};
static ticket_place places[PROCESSES];
static int queue[PROCESSES], queue_length;

static void set_guess(int64_t next) {
  ticket_header header = {.next = next};
  memcpy(header.magic, TICKET_MAGIC, 16);
  memcpy(content, &header, sizeof header);
  content_size = sizeof header;
}

static void take(int process) {
  assert(ticket_take(process, &sidecar, false, true, &places[process]) == 0);
  queue[queue_length++] = process;
}

static void leave(int place) {
  int process = queue[place];
  ticket_drop(process, &places[process]);
  queue_length--;
  memmove(&queue[place], &queue[place + 1], (size_t)(queue_length - place) * sizeof *queue);
}

static void check(void) {
  assert(lock_count == queue_length);  // the tickets, and nothing else
  assert(ticket_queue_empty(STRANGER, &sidecar) == (queue_length == 0 ? 0 : EAGAIN));
  for (int i = 0; i < queue_length; i++) {
    ticket_place *own = &places[queue[i]];
    assert(ticket_is_first(queue[i], own, NULL) == (i == 0 ? 0 : EAGAIN));
    if (i == 0) continue;
    int64_t before = places[queue[i - 1]].ticket;
    assert(before < own->ticket);
    assert(ticket_predecessor(queue[i], own) == TICKET_BASE + before);
  }
}

static void at_random(unsigned seed) {
  srand(seed);
  for (int step = 0; step < 300; step++) {
    if (rand() % 10 == 0) set_guess(rand() % 3 == 0 ? rand() : rand() % 40);
    if (rand() % 30 == 0) content_size = 0;
    int process = rand() % PROCESSES;
    bool is_queued = places[process].ticket != NO_TICKET;
    if (!is_queued && rand() % 3 > 0) take(process);
    else if (queue_length > 0) leave(rand() % 3 == 0 ? 0 : rand() % queue_length);
    check();
  }
  while (queue_length > 0) leave(0);
}

int main(void) {
  for (int i = 0; i < PROCESSES; i++) places[i] = NO_PLACE;
  for (unsigned seed = 0; seed < 300; seed++) at_random(seed);

  // The turn: the one before has gone, and an earlier one is there still; then that has gone too.
  for (int process = 0; process < 3; process++) take(process);
  off_t wait_for = ticket_predecessor(2, &places[2]);
  leave(1);
  assert(ticket_wait_step(2, &places[2], &wait_for) == EAGAIN && wait_for == TICKET_BASE + places[0].ticket);
  leave(0);
  assert(ticket_wait_step(2, &places[2], &wait_for) == 0);
  leave(0);

  // Another process is taking one; there is no free one; the file is another program's, or not at its path any more.
  assert(range_lock(STRANGER, LOCKFILE_EXCLUSIVE_LOCK, TICKET_LAST, 1) == 0);
  assert(ticket_take(0, &sidecar, false, false, &places[0]) == EAGAIN);
  range_unlock(STRANGER, TICKET_LAST, 1);
  assert(range_lock(STRANGER, 0, TICKET_BASE, TICKET_LAST - TICKET_BASE) == 0);
  assert(ticket_take(0, &sidecar, false, false, &places[0]) == EBUSY);
  range_unlock(STRANGER, TICKET_BASE, TICKET_LAST - TICKET_BASE);
  strcpy(content, "the content of another program");
  content_size = (DWORD)strlen(content);
  take(0), take(1), take(2);
  check();
  assert(strcmp(content, "the content of another program") == 0);
  assert(ticket_remove_sidecar(STRANGER, &sidecar) == EAGAIN);
  while (queue_length > 0) leave(0);
  assert(ticket_remove_sidecar(STRANGER, &sidecar) == 0 && !sidecar.is_at_path);
  assert(ticket_take(0, &sidecar, false, false, &places[0]) == ESTALE);
  assert(lock_count == 0);
  puts("as it should be");
  return 0;
}

// The queue of ticket.h on Windows. The tickets are the same bytes; but what is locked cannot be asked there: only a try
// tells, and locks for a moment. So the search for a free ticket is one try for each step, with the last byte locked, and
// a request learns by a shared try on all earlier bytes whether it is the first. No such try gets bytes that hold a
// ticket, so none makes another request lose its place; one that fails since another process is trying at that moment is
// taken for a longer queue than there is, no more. Only the order depends on all this: the lock itself is another one.
#ifndef FAIRLOCK_WINDOWS_TICKET_H
#define FAIRLOCK_WINDOWS_TICKET_H

// A ticket is dropped by its wait alone, as long as there is one: another thread would wait for that.
#define TICKET_IS_ITS_WAITS true

static inline int ticket_bytes(lock_fd fd, off_t from, off_t to, bool shared, bool wait) {
  DWORD flags = (shared ? 0 : LOCKFILE_EXCLUSIVE_LOCK) | (wait ? 0 : LOCKFILE_FAIL_IMMEDIATELY);
  return range_lock(fd, flags, from, to - from + 1);
}

// 0: the bytes could be locked, and are not any more.
static inline int ticket_probe(lock_fd fd, off_t from, off_t to, bool shared) {
  int error = ticket_bytes(fd, from, to, shared, false);
  if (error == 0) range_unlock(fd, from, to - from + 1);
  return error;
}

static inline int ticket_queue_empty(lock_fd fd, const lock_identity *identity) {
  int error = check_identity(identity, fd);
  return error != 0 ? error : ticket_probe(fd, TICKET_BASE, TICKET_LAST - 1, true);
}

static inline int ticket_is_first(lock_fd fd, ticket_place *place, off_t *earlier) {
  (void)earlier;
  int error = place->first ? 0 : ticket_probe(fd, TICKET_BASE, TICKET_BASE + place->ticket - 1, true);
  place->first = error == 0;
  return error;
}

// The first byte from which on all are free, up to `end`: behind `low`, at `high` at the latest.
static inline off_t ticket_search(lock_fd fd, off_t low, off_t high, off_t end, bool shared) {
  while (high - low > 1) {
    off_t middle = low + (high - low) / 2;
    if (ticket_probe(fd, middle, end, shared) == 0) high = middle;
    else low = middle;
  }
  return high;
}

// The last ticket before this one: behind it all is free.
static inline off_t ticket_predecessor(lock_fd fd, const ticket_place *place) {
  off_t end = TICKET_BASE + place->ticket - 1, high = end + 1, low = end;
  for (off_t step = 1; low > TICKET_BASE && ticket_probe(fd, low, end, true) == 0; step *= 2) {
    high = low;
    low = low - step < TICKET_BASE ? TICKET_BASE : low - step;
  }
  return ticket_search(fd, low, high, end, true) - 1;
}

// Reads the number behind the last ticket, as a guess. Whether the file is ours to write: not if its content is another
// program's.
static inline bool ticket_read(lock_fd fd, ticket_header *header) {
  DWORD size = 0;
  OVERLAPPED start = {0};
  if (!ReadFile(fd, header, sizeof *header, &size, &start)) size = 0;
  bool is_magic = memcmp(header->magic, TICKET_MAGIC, 16) == 0;
  bool told = size == sizeof *header && is_magic && header->next > 0 && header->next < TICKET_LIMIT;
  if (!told) header->next = 1;
  return size == 0 || is_magic;
}

// A disk that is full is no reason to fail.
static inline void ticket_write(lock_fd fd, int64_t next) {
  ticket_header header = {.next = next};
  DWORD size;
  OVERLAPPED start = {0};
  memcpy(header.magic, TICKET_MAGIC, 16);
  WriteFile(fd, &header, sizeof header, &size, &start);
}

// The first byte behind all tickets: no other process takes one. `*ours`: the file was read, and may be written.
static inline off_t ticket_free(lock_fd fd, bool *ours) {
  ticket_header header = {0};
  off_t end = TICKET_LAST - 1;
  if (ticket_probe(fd, TICKET_BASE, end, false) == 0) return TICKET_BASE;
  *ours = ticket_read(fd, &header);
  off_t low = TICKET_BASE + header.next, high = low;
  if (ticket_probe(fd, low, end, false) == 0) return low;
  for (off_t step = 1; high < TICKET_BASE + TICKET_LIMIT; step *= 2) {
    high = low + step < end ? low + step : end;
    if (ticket_probe(fd, high, end, false) == 0) break;
    low = high;
  }
  return ticket_search(fd, low, high, end, false);
}

static inline int ticket_take(lock_fd fd, const lock_identity *identity, bool shared, bool wait, ticket_place *place) {
  (void)shared;
  int error = ticket_bytes(fd, TICKET_LAST, TICKET_LAST, false, wait);
  if (error != 0) return error;
  bool ours = false;
  off_t found = ticket_free(fd, &ours);
  error = EAGAIN;
  for (int tries = 0; error == EAGAIN && tries < LOCK_TRIES; tries++) error = ticket_bytes(fd, found, found, false, false);
  if (error == EAGAIN) error = EBUSY;
  if (error == 0 && (error = check_identity(identity, fd)) != 0) range_unlock(fd, found, 1);
  if (error == 0) {
    int64_t ticket = found - TICKET_BASE;
    if (ours) ticket_write(fd, ticket + 1);
    *place = (ticket_place){.ticket = ticket, .first = ticket == 0, .busy_since = NO_TICKET};
  }
  range_unlock(fd, TICKET_LAST, 1);
  return error;
}

static inline void ticket_drop(lock_fd fd, ticket_place *place) {
  range_unlock(fd, TICKET_BASE + place->ticket, 1);
  place->ticket = NO_TICKET;
  place->first = false;
}

static inline int ticket_wait_step(lock_fd fd, ticket_place *place, off_t *wait_for) {
  if (place->first) return 0;
  int error = ticket_bytes(fd, *wait_for, *wait_for, true, true);
  if (error != 0) return error;
  range_unlock(fd, *wait_for, 1);
  error = ticket_is_first(fd, place, NULL);
  if (error == EAGAIN) *wait_for = ticket_predecessor(fd, place);
  return error;
}

static inline int ticket_remove_sidecar(lock_fd fd, const lock_identity *identity) {
  int error = ticket_bytes(fd, TICKET_BASE, TICKET_LAST, false, false);
  if (error != 0) return error;
  error = check_identity(identity, fd);
  if (error == 0) error = lock_remove(identity);
  range_unlock(fd, TICKET_BASE, TICKET_LAST - TICKET_BASE + 1);
  return error;
}

#endif

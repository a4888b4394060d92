// The baselines of the benchmarks, in C: what the system calls alone cost.
//   baseline uncontended PATH TIMES                 flock + stat + unlock; prints ns per round
//   baseline flock|fifo PATH HOLD_US WARM START END OUT
//                                                    one of several processes that contend: see contender.mjs
// `fifo` is the strategy of fairness 'fifo', by the very functions that fairlock uses (native-fallback/src/ticket.h).
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../native-fallback/src/ticket.h"

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int must(int result, const char *what) {
  if (result >= 0) return result;
  perror(what);
  exit(1);
}

static int uncontended(const char *path, long times) {
  struct stat stat_now;
  int fd = must(open(path, O_RDWR | O_CREAT, 0666), path);
  int64_t begin = now();
  for (long i = 0; i < times; i++) {
    must(flock(fd, LOCK_EX | LOCK_NB), "flock");
    must(stat(path, &stat_now), "stat");
    must(flock(fd, LOCK_UN), "unlock");
  }
  printf("%f\n", (double)(now() - begin) / times);
  return 0;
}

static void acquire_fifo(int fd, int line, const lock_identity *sidecar) {
  static ticket_place place = {.ticket = NO_TICKET, .busy_since = NO_TICKET};
  struct stat stat_now;
  must(-ticket_take(line, sidecar, false, true, &place), "take");
  off_t wait_for = ticket_predecessor(line, &place);
  int turn;
  do turn = ticket_wait_step(line, &place, &wait_for);
  while (turn == EAGAIN);
  must(-turn, "turn");
  must(flock(fd, LOCK_EX), "flock");
  fstat(fd, &stat_now);
  ticket_drop(line, &place);
}

int main(int count, char **arguments) {
  if (count == 4) return uncontended(arguments[2], atol(arguments[3]));
  if (count != 8) return 2;
  bool fifo = strcmp(arguments[1], "fifo") == 0;
  int64_t hold = atoll(arguments[3]) * 1000, warm = atoll(arguments[4]), start = atoll(arguments[5]),
          end = atoll(arguments[6]);
  int fd = must(open(arguments[2], O_RDWR | O_CREAT, 0666), arguments[2]);
  char path[4096];
  snprintf(path, sizeof path, "%s.baseline-queue", arguments[2]);
  int line = must(open(path, O_RDWR | O_CREAT, 0666), path);
  struct stat stat_line;
  must(fstat(line, &stat_line), path);
  lock_identity sidecar = {.path = path, .dev = stat_line.st_dev, .ino = stat_line.st_ino};
  FILE *out = fopen(arguments[7], "wb");
  if (out == NULL) must(-1, arguments[7]);

  while (now() < warm) continue;
  for (int64_t asked = now(); asked < end; asked = now()) {
    if (fifo) acquire_fifo(fd, line, &sidecar);
    else must(flock(fd, LOCK_EX), "flock");
    int64_t granted = now();
    while (asked >= start && now() < granted + hold) continue;
    flock(fd, LOCK_UN);
    if (asked < start) continue;
    double pair[2] = {(double)asked, (double)granted};
    fwrite(pair, sizeof pair, 1, out);
  }
  fclose(out);
  return 0;
}

// Exercises worker.c and lock_wait.c without Node, for the sanitizers (npm run sanitize): many threads' worth of grants
// against cancels, joins, and groups that end under their waits. Exits non-zero if anything is wrong.
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/lock_wait.h"

enum { ROUNDS = 400, WAITS = 8 };

static char path[] = "/tmp/fairlock-stress-XXXXXX";
static char sidecar_path[] = "/tmp/fairlock-stress-XXXXXX";
static lock_identity identity;

static void wake(void *data) { __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST); }

static lock_target open_target(bool ofd) {
  lock_target target = {.fd = open(path, O_RDWR | O_CLOEXEC), .ofd = ofd};
  assert(target.fd >= 0);
  return target;
}

static int start(worker_group *group, lock_target target, bool shared, bool listed, int id, worker **result) {
  lock_wait_order order = {
      .shared = shared, .listed = listed, .place = NO_PLACE, .lock = &identity, .target = target, .id = id};
  return lock_wait_start(group, &order, result);
}

// Half of the waits are cancelled, at a moment that differs; the others must all be granted, one after the other.
static void grants_against_cancels(bool ofd) {
  int woken = 0, granted = 0, expected = 0, result;
  worker_group *group = worker_group_create(wake, &woken);
  for (int round = 0; round < ROUNDS; round++) {
    lock_target holder = open_target(ofd), targets[WAITS];
    worker *waits[WAITS];
    assert(lock_block(&holder, false) == 0);
    for (int i = 0; i < WAITS; i++) {
      targets[i] = open_target(ofd);
      assert(start(group, targets[i], true, true, i, &waits[i]) == 0);
    }
    if (round % 3 == 0) assert(lock_undo(&holder) == 0);
    for (int i = 0; i < WAITS; i += 2) {
      assert(worker_cancel(waits[i], &result));
      close(targets[i].fd);
    }
    lock_undo(&holder);
    for (int done = 0; done < WAITS / 2;) {
      worker *one = worker_group_take(group);
      if (one == NULL) {
        sched_yield();
        continue;
      }
      if (worker_id(one) % 2 == 1) {  // not cancelled
        assert(worker_result(one) == 0);
        done++;
        granted++;
      }
      worker_release(one);
    }
    expected += WAITS / 2;
    for (int i = 0; i < WAITS; i++) worker_release(waits[i]);
    for (int i = 1; i < WAITS; i += 2) close(targets[i].fd);
    close(holder.fd);
  }
  assert(granted == expected && woken > 0);
  worker_group_destroy(group);
}

// After everything was cancelled or closed, the lock is free: nothing was leaked.
static void lock_is_free(bool ofd) {
  for (int tries = 0;; tries++) {
    lock_target target = open_target(ofd);
    int result = lock_try(&target, false);
    close(target.fd);
    if (result == 0) return;
    assert(tries < 100000);
    sched_yield();
  }
}

static void groups_that_end(bool ofd) {
  for (int round = 0; round < ROUNDS / 4; round++) {
    int woken = 0;
    worker_group *group = worker_group_create(wake, &woken);
    lock_target holder = open_target(ofd), targets[WAITS];
    assert(lock_block(&holder, false) == 0);
    for (int i = 0; i < WAITS; i++) {
      worker *one;
      targets[i] = open_target(ofd);
      assert(start(group, targets[i], false, i % 2 == 0, i, &one) == 0);
      worker_release(one);
    }
    if (round % 2 == 0) lock_undo(&holder);
    worker_group_destroy(group);
    for (int i = 0; i < WAITS; i++) close(targets[i].fd);
    close(holder.fd);
  }
}

static void joins(bool ofd) {
  int woken = 0;
  worker_group *group = worker_group_create(wake, &woken);
  for (int round = 0; round < ROUNDS / 4; round++) {
    lock_target holder = open_target(ofd), target = open_target(ofd);
    worker *one;
    assert(lock_block(&holder, false) == 0);
    assert(start(group, target, false, false, 0, &one) == 0);
    assert(!worker_join(one, 0));
    lock_undo(&holder);
    while (!worker_join(one, 50)) continue;
    assert(worker_result(one) == 0);
    worker_release(one);
    close(target.fd);
    close(holder.fd);
  }
  assert(woken == 0);
  worker_group_destroy(group);
}

// Whether a thread is parked at a byte of the file, as the kernel's list of locks tells.
static bool is_waited_for(ino_t file) {
  char line[200], end[32];
  bool found = false;
  FILE *locks = fopen("/proc/locks", "r");
  assert(locks != NULL);
  snprintf(end, sizeof end, ":%lu ", (unsigned long)file);
  while (fgets(line, sizeof line, locks) != NULL) found |= strstr(line, "->") != NULL && strstr(line, end) != NULL;
  fclose(locks);
  return found;
}

// A foreign handler has taken the signal, so the wait for a turn cannot be interrupted; its caller closes the lock file
// all the same, as at the end of an environment, and another file gets its number. That file must not be locked.
static void a_number_that_is_used_again(int sidecar) {
  int woken = 0, result;
  worker_group *group = worker_group_create(wake, &woken);
  struct stat stat;
  assert(fstat(sidecar, &stat) == 0);
  lock_identity identity_of_sidecar = {.path = sidecar_path, .dev = stat.st_dev, .ino = stat.st_ino};
  int first = open(sidecar_path, O_RDWR | O_CLOEXEC), second = open(sidecar_path, O_RDWR | O_CLOEXEC);
  ticket_place ahead = NO_PLACE, behind = NO_PLACE;
  assert(ticket_take(first, &identity_of_sidecar, false, false, &ahead) == 0);
  assert(ticket_take(second, &identity_of_sidecar, false, false, &behind) == 0);
  lock_target target = open_target(false);
  lock_wait_order order = {.place = behind, .sidecar = &identity_of_sidecar, .sidecar_fd = second, .listed = true};
  order.lock = &identity;
  order.target = target;
  worker *one;
  assert(lock_wait_start(group, &order, &one) == 0);
  while (!is_waited_for(stat.st_ino)) sched_yield();
  for (int number = SIGRTMIN; number < SIGRTMAX; number++) signal(number, SIG_IGN);
  assert(!worker_cancel(one, &result));
  char other_path[] = "/tmp/fairlock-stress-XXXXXX";
  int other = mkstemp(other_path), probe = open(other_path, O_RDWR | O_CLOEXEC);
  assert(dup2(other, target.fd) == target.fd && probe >= 0);
  ticket_drop(first, &ahead);
  while (!worker_join(one, 50)) continue;
  assert(worker_result(one) == ECANCELED);
  assert(flock(probe, LOCK_EX | LOCK_NB) == 0);
  worker_release(one);
  worker_group_destroy(group);
  unlink(other_path);
  for (int i = 0; i < 5; i++) close((int[]){first, second, target.fd, other, probe}[i]);
}

int main(void) {
  int fd = mkstemp(path);
  struct stat stat;
  assert(fd >= 0 && fstat(fd, &stat) == 0);
  identity = (lock_identity){.path = path, .dev = stat.st_dev, .ino = stat.st_ino};
  for (int ofd = 0; ofd <= lock_has_ofd(); ofd++) {
    grants_against_cancels(ofd);
    lock_is_free(ofd);
    groups_that_end(ofd);
    lock_is_free(ofd);
    joins(ofd);
    lock_is_free(ofd);
  }
  int sidecar = mkstemp(sidecar_path);
  if (lock_has_ofd()) a_number_that_is_used_again(sidecar);
  unlink(sidecar_path);
  close(sidecar);
  while (worker_threads() > 0) usleep(10000);  // idle threads end by themselves
  unlink(path);
  close(fd);
  puts("clean");
}

#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cancel.h"
#include "seats.h"

enum { JOIN_MS = 100, SIGNAL_AGAIN_MS = 1 };

struct worker_group {
  void (*wake)(void *);
  void *data;
  worker *ended, **ended_tail;
  worker *running;  // a doubly linked list
  bool destroyed;
  int waking;  // calls of `wake` that go on
  int references;
};

struct worker {
  worker *next, *previous;
  worker_group *group;
  worker_order order;
  enum { STARTING, PARKED, DONE } state;
  atomic_bool cancelled;
  bool listed;
  int result;
  int references;  // the caller's, the thread's, and that of the list
  pthread_t thread;
};

static pthread_cond_t any_done;
static pthread_condattr_t monotonic;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialize(void) {
  pthread_condattr_init(&monotonic);
#ifndef __APPLE__
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
#endif
  pthread_cond_init(&any_done, &monotonic);
  cancel_initialize();
}

static struct timespec from_now(double ms) {
  struct timespec at;
#ifdef __APPLE__
  clock_gettime(CLOCK_REALTIME, &at);
#else
  clock_gettime(CLOCK_MONOTONIC, &at);
#endif
  double seconds = ms / 1e3;
  at.tv_sec += (time_t)seconds;
  at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  return at;
}

static bool has_passed(const struct timespec *end) {
  struct timespec now = from_now(0);
  return now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec);
}

// --- with the mutex held -------------------------------------------------------------------------------------------

static void release_group(worker_group *group) {
  if (--group->references == 0) free(group);
}

static void release_locked(worker *self) {
  if (--self->references > 0) return;
  release_group(self->group);
  self->order.kind->destroy(self->order.call);
  free(self);
}

static void leave_running(worker *self) {
  if (self->previous != NULL) self->previous->next = self->next;
  else self->group->running = self->next;
  if (self->next != NULL) self->next->previous = self->previous;
  self->next = self->previous = NULL;
}

// The one place where the end of a call meets cancel; both have the mutex.
//   Cancelled first: 1. `cancel_locked` takes the worker off the list. 2. The call ends, granted or not. 3. No code is
//   told, and the caller undoes what was granted.
//   Ended first: 1. The call ends, and its result is listed. 2. Cancelling finds a call that is over, interrupts nothing,
//   and answers with its result.
// True: `wake` is to be called.
static bool finish(worker *self, int result) {
  worker_group *group = self->group;
  self->state = DONE;
  self->result = result;
  leave_running(self);
  pthread_cond_broadcast(&any_done);
  if (group->destroyed || !self->listed) return false;
  bool first = group->ended == NULL;
  self->references++;
  *group->ended_tail = self;
  group->ended_tail = &self->next;
  if (first) group->waking++;
  return first;
}

//   1. The thread looks at the flag: not cancelled. 2. The flag is set and the signal sent: it comes between two calls,
//   and interrupts nothing. 3. The thread calls, and blocks.
// So the signal is sent again until the thread has left, which it does after the first call that ends, since it looks at
// the flag then. A copy that comes late interrupts another call of that thread at worst, which is called again.
// (STARTING: the thread looks at the flag before it calls.)
static void interrupt(worker *self) {
  atomic_store(&self->cancelled, true);
  if (self->state == PARKED && cancel_is_possible()) cancel_send(self->thread);
}

static void wait_a_moment(void) {
  struct timespec end = from_now(SIGNAL_AGAIN_MS);
  pthread_cond_timedwait(&any_done, &seats_mutex, &end);
}

static bool cancel_locked(worker *self) {
  struct timespec end = from_now(JOIN_MS);
  self->listed = false;
  interrupt(self);
  while (self->state == PARKED && cancel_is_possible() && !has_passed(&end)) {
    wait_a_moment();
    interrupt(self);
  }
  self->listed = self->state == PARKED;
  return !self->listed;
}

// --- on its thread -------------------------------------------------------------------------------------------------

static void run(void *job) {
  worker *self = job;
  const worker_order *order = &self->order;
  worker_group *group = self->group;
  int result = ECANCELED;
  self->thread = pthread_self();
  if (!atomic_load(&self->cancelled)) {
    self->state = PARKED;
    pthread_mutex_unlock(&seats_mutex);
    result = order->kind->run(order->call, &self->cancelled);
    pthread_mutex_lock(&seats_mutex);
  }
  if (finish(self, result)) {
    // Without the mutex: the thread that is woken would only wait for it.
    pthread_mutex_unlock(&seats_mutex);
    group->wake(group->data);
    pthread_mutex_lock(&seats_mutex);
    if (--group->waking == 0 && group->destroyed) pthread_cond_broadcast(&any_done);
  }
  release_locked(self);
}

// --- the interface -------------------------------------------------------------------------------------------------

worker_group *worker_group_create(void (*wake)(void *), void *data) {
  pthread_once(&once, initialize);
  worker_group *group = calloc(1, sizeof *group);
  if (group == NULL) return NULL;
  *group = (worker_group){.wake = wake, .data = data, .ended_tail = &group->ended, .references = 1};
  return group;
}

void worker_group_destroy(worker_group *group) {
  pthread_mutex_lock(&seats_mutex);
  group->destroyed = true;
  struct timespec end = from_now(JOIN_MS);
  while (group->running != NULL && !has_passed(&end)) {
    for (worker *one = group->running; one != NULL; one = one->next) interrupt(one);
    wait_a_moment();
  }
  while (group->waking > 0) pthread_cond_wait(&any_done, &seats_mutex);
  while (group->ended != NULL) {
    worker *one = group->ended;
    group->ended = one->next;
    release_locked(one);
  }
  release_group(group);
  pthread_mutex_unlock(&seats_mutex);
}

worker *worker_group_take(worker_group *group) {
  pthread_mutex_lock(&seats_mutex);
  worker *one = group->ended;
  if (one != NULL) {
    group->ended = one->next;
    if (group->ended == NULL) group->ended_tail = &group->ended;
    one->next = NULL;
  }
  pthread_mutex_unlock(&seats_mutex);
  return one;
}

int worker_start(worker_group *group, const worker_order *order, worker **result) {
  worker *self = calloc(1, sizeof *self);
  if (self == NULL) return ENOMEM;
  self->group = group;
  self->order = *order;
  self->listed = order->listed;
  self->references = 2;

  seat *woken;
  pthread_mutex_lock(&seats_mutex);
  int error = seats_assign(run, self, &woken);
  if (error == 0) {
    group->references++;
    self->next = group->running;
    if (self->next != NULL) self->next->previous = self;
    group->running = self;
  }
  pthread_mutex_unlock(&seats_mutex);

  if (error == 0 && woken != NULL) seats_ring(woken);
  if (error != 0) free(self);
  else *result = self;
  return error;
}

bool worker_cancel(worker *self, int *result) {
  pthread_mutex_lock(&seats_mutex);
  bool ended = cancel_locked(self);
  *result = self->state == DONE ? self->result : ECANCELED;
  pthread_mutex_unlock(&seats_mutex);
  return ended;
}

bool worker_join(worker *self, double ms) {
  struct timespec end = from_now(ms);
  pthread_mutex_lock(&seats_mutex);
  while (self->state != DONE && pthread_cond_timedwait(&any_done, &seats_mutex, &end) != ETIMEDOUT) continue;
  bool done = self->state == DONE;
  pthread_mutex_unlock(&seats_mutex);
  return done;
}

int worker_result(const worker *self) { return self->result; }

void *worker_call(const worker *self) { return self->order.call; }

int worker_id(const worker *self) { return self->order.id; }

void worker_release(worker *self) {
  pthread_mutex_lock(&seats_mutex);
  release_locked(self);
  pthread_mutex_unlock(&seats_mutex);
}

int worker_threads(void) {
  pthread_mutex_lock(&seats_mutex);
  int count = seats_threads();
  pthread_mutex_unlock(&seats_mutex);
  return count;
}

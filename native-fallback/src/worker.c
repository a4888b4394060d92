#include "worker.h"

#include <errno.h>
#include <stdlib.h>

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
  thread thread;
};

static condition any_done;
static bool is_ready;

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
  condition_tell_all(&any_done);
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
  condition_wait(&any_done, &seats_mutex, now_ms() + SIGNAL_AGAIN_MS);
}

static bool cancel_locked(worker *self) {
  double end = now_ms() + JOIN_MS;
  self->listed = false;
  interrupt(self);
  while (self->state == PARKED && cancel_is_possible() && now_ms() < end) {
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
  self->thread = thread_self();
  if (!atomic_load(&self->cancelled)) {
    self->state = PARKED;
    mutex_unlock(&seats_mutex);
    result = order->kind->run(order->call, &self->cancelled);
    mutex_lock(&seats_mutex);
  }
  if (finish(self, result)) {
    // Without the mutex: the thread that is woken would only wait for it.
    mutex_unlock(&seats_mutex);
    group->wake(group->data);
    mutex_lock(&seats_mutex);
    if (--group->waking == 0 && group->destroyed) condition_tell_all(&any_done);
  }
  release_locked(self);
}

// --- the interface -------------------------------------------------------------------------------------------------

worker_group *worker_group_create(void (*wake)(void *), void *data) {
  mutex_lock(&seats_mutex);
  if (!is_ready) {
    condition_make(&any_done);
    cancel_initialize();
  }
  is_ready = true;
  mutex_unlock(&seats_mutex);
  worker_group *group = calloc(1, sizeof *group);
  if (group == NULL) return NULL;
  *group = (worker_group){.wake = wake, .data = data, .ended_tail = &group->ended, .references = 1};
  return group;
}

void worker_group_destroy(worker_group *group) {
  mutex_lock(&seats_mutex);
  group->destroyed = true;
  double end = now_ms() + JOIN_MS;
  while (group->running != NULL && now_ms() < end) {
    for (worker *one = group->running; one != NULL; one = one->next) interrupt(one);
    wait_a_moment();
  }
  while (group->waking > 0) wait_a_moment();
  while (group->ended != NULL) {
    worker *one = group->ended;
    group->ended = one->next;
    release_locked(one);
  }
  release_group(group);
  mutex_unlock(&seats_mutex);
}

worker *worker_group_take(worker_group *group) {
  mutex_lock(&seats_mutex);
  worker *one = group->ended;
  if (one != NULL) {
    group->ended = one->next;
    if (group->ended == NULL) group->ended_tail = &group->ended;
    one->next = NULL;
  }
  mutex_unlock(&seats_mutex);
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
  mutex_lock(&seats_mutex);
  int error = seats_assign(run, self, &woken);
  if (error == 0) {
    group->references++;
    self->next = group->running;
    if (self->next != NULL) self->next->previous = self;
    group->running = self;
  }
  mutex_unlock(&seats_mutex);

  if (error == 0 && woken != NULL) seats_ring(woken);
  if (error != 0) free(self);
  else *result = self;
  return error;
}

bool worker_cancel(worker *self, int *result) {
  mutex_lock(&seats_mutex);
  bool ended = cancel_locked(self);
  *result = self->state == DONE ? self->result : ECANCELED;
  mutex_unlock(&seats_mutex);
  return ended;
}

bool worker_join(worker *self, double ms) {
  double end = now_ms() + ms;
  mutex_lock(&seats_mutex);
  while (self->state != DONE && now_ms() < end) condition_wait(&any_done, &seats_mutex, end);
  bool done = self->state == DONE;
  mutex_unlock(&seats_mutex);
  return done;
}

int worker_result(const worker *self) { return self->result; }

void *worker_call(const worker *self) { return self->order.call; }

int worker_id(const worker *self) { return self->order.id; }

void worker_release(worker *self) {
  mutex_lock(&seats_mutex);
  release_locked(self);
  mutex_unlock(&seats_mutex);
}

int worker_threads(void) {
  mutex_lock(&seats_mutex);
  int count = seats_threads();
  mutex_unlock(&seats_mutex);
  return count;
}

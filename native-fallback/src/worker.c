#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "bell.h"
#include "cancel.h"

enum { STACK_BYTES = 128 * 1024, MOST_STACK_BYTES = 8 * 1024 * 1024, IDLE_SECONDS = 2, JOIN_MS = 100, SIGNAL_AGAIN_MS = 1 };

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

// Where an idle thread gets its next job. It is kept for another thread when this one ends, since its bell is rung
// without the mutex, for which the woken thread would only have to wait.
typedef struct seat {
  struct seat *next;
  bell bell;
  worker *job;
} seat;

// One mutex for everything: it is taken three times per wait, for a moment each, and never while a call blocks.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t any_done;
static pthread_condattr_t monotonic;
static seat *idle, *spare;
static int threads;
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

// The one place where the end of a call meets cancel. Cancelled first: no code learns of the result, and the caller
// undoes it. Ended first: the result is listed, and cancelling finds nothing to interrupt. True: `wake` is to be
// called.
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

// A thread that is only about to call is not interrupted by the signal, and then blocks: so the signal is sent again
// until the thread has left, which it does after the first call that ends, since it looks at the flag then. A copy that
// comes late interrupts another call of that thread at worst, which is called again. (STARTING: the thread looks at the
// flag before it calls.)
static void interrupt(worker *self) {
  atomic_store(&self->cancelled, true);
  if (self->state == PARKED && cancel_is_possible()) cancel_send(self->thread);
}

static void wait_a_moment(void) {
  struct timespec end = from_now(SIGNAL_AGAIN_MS);
  pthread_cond_timedwait(&any_done, &mutex, &end);
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

// --- the threads ---------------------------------------------------------------------------------------------------

static void run(worker *self) {
  const worker_order *order = &self->order;
  worker_group *group = self->group;
  int result = ECANCELED;
  self->thread = pthread_self();
  if (!atomic_load(&self->cancelled)) {
    self->state = PARKED;
    pthread_mutex_unlock(&mutex);
    result = order->kind->run(order->call, &self->cancelled);
    pthread_mutex_lock(&mutex);
  }
  if (finish(self, result)) {
    // Without the mutex: the thread that is woken would only wait for it.
    pthread_mutex_unlock(&mutex);
    group->wake(group->data);
    pthread_mutex_lock(&mutex);
    if (--group->waking == 0 && group->destroyed) pthread_cond_broadcast(&any_done);
  }
  release_locked(self);
}

static seat *take_seat(void) {
  seat *one = spare;
  if (one != NULL) spare = one->next;
  else if ((one = calloc(1, sizeof *one)) != NULL) bell_make(&one->bell);
  return one;
}

static void give_back(seat *one) {
  one->next = spare;
  spare = one;
}

// With the mutex held, which is released meanwhile. Afterwards there is a job, or the thread is not idle any more.
static void wait_for_job(seat *self) {
  self->job = NULL;
  self->next = idle;
  idle = self;
  bool rung = true;
  while (self->job == NULL && rung) {
    pthread_mutex_unlock(&mutex);
    rung = bell_wait(&self->bell, IDLE_SECONDS);
    pthread_mutex_lock(&mutex);
  }
  if (self->job != NULL) return;
  seat **link = &idle;
  while (*link != self) link = &(*link)->next;
  *link = self->next;
}

static void *thread_main(void *argument) {
  seat *self = argument;
  cancel_admit();
  pthread_mutex_lock(&mutex);
  while (self->job != NULL) {
    run(self->job);
    wait_for_job(self);
  }
  threads--;
  give_back(self);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

// Blocks every signal in the new thread: no foreign handler shall run on its small stack.
static int create_thread(worker *job) {
  seat *own = take_seat();
  if (own == NULL) return ENOMEM;
  own->job = job;
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // glibc takes the thread-local variables of all libraries from the stack, and says EINVAL where too little is left
  // (sysdeps of nptl/allocatestack.c).
  int error = EINVAL;
  for (size_t bytes = STACK_BYTES; error == EINVAL && bytes <= MOST_STACK_BYTES; bytes *= 2) {
    pthread_attr_setstacksize(&attributes, bytes);
    error = pthread_create(&thread, &attributes, thread_main, own);
  }
  if (error == EINVAL) error = EAGAIN;  // no thread to wait on
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error == 0) {
    threads++;
  } else {
    own->job = NULL;
    give_back(own);
  }
  return error;
}

// `woken`: whose bell is to be rung without the mutex, NULL if none.
static int assign(worker *job, seat **woken) {
  *woken = idle;
  if (idle == NULL) return create_thread(job);
  idle = (*woken)->next;
  (*woken)->job = job;
  return 0;
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
  pthread_mutex_lock(&mutex);
  group->destroyed = true;
  struct timespec end = from_now(JOIN_MS);
  while (group->running != NULL && !has_passed(&end)) {
    for (worker *one = group->running; one != NULL; one = one->next) interrupt(one);
    wait_a_moment();
  }
  while (group->waking > 0) pthread_cond_wait(&any_done, &mutex);
  while (group->ended != NULL) {
    worker *one = group->ended;
    group->ended = one->next;
    release_locked(one);
  }
  release_group(group);
  pthread_mutex_unlock(&mutex);
}

worker *worker_group_take(worker_group *group) {
  pthread_mutex_lock(&mutex);
  worker *one = group->ended;
  if (one != NULL) {
    group->ended = one->next;
    if (group->ended == NULL) group->ended_tail = &group->ended;
    one->next = NULL;
  }
  pthread_mutex_unlock(&mutex);
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
  pthread_mutex_lock(&mutex);
  int error = assign(self, &woken);
  if (error == 0) {
    group->references++;
    self->next = group->running;
    if (self->next != NULL) self->next->previous = self;
    group->running = self;
  }
  pthread_mutex_unlock(&mutex);

  if (error == 0 && woken != NULL) bell_ring(&woken->bell);
  if (error != 0) free(self);
  else *result = self;
  return error;
}

bool worker_cancel(worker *self, int *result) {
  pthread_mutex_lock(&mutex);
  bool ended = cancel_locked(self);
  *result = self->state == DONE ? self->result : ECANCELED;
  pthread_mutex_unlock(&mutex);
  return ended;
}

bool worker_join(worker *self, double ms) {
  struct timespec end = from_now(ms);
  pthread_mutex_lock(&mutex);
  while (self->state != DONE && pthread_cond_timedwait(&any_done, &mutex, &end) != ETIMEDOUT) continue;
  bool done = self->state == DONE;
  pthread_mutex_unlock(&mutex);
  return done;
}

int worker_result(const worker *self) { return self->result; }

void *worker_call(const worker *self) { return self->order.call; }

int worker_id(const worker *self) { return self->order.id; }

void worker_release(worker *self) {
  pthread_mutex_lock(&mutex);
  release_locked(self);
  pthread_mutex_unlock(&mutex);
}

int worker_threads(void) {
  pthread_mutex_lock(&mutex);
  int count = threads;
  pthread_mutex_unlock(&mutex);
  return count;
}

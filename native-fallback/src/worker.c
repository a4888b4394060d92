#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cancel.h"

enum { STACK_BYTES = 128 * 1024, IDLE_SECONDS = 2, JOIN_MS = 100 };

struct worker_group {
  void (*wake)(void *);
  void *data;
  worker *ended, **ended_tail;
  worker *running;  // a doubly linked list
  bool destroyed;
  int references;
};

struct worker {
  worker *next, *previous;
  worker_group *group;
  worker_order order;
  enum { STARTING, PARKED, DONE } state;
  atomic_bool cancelled;
  int result;
  int references;  // the caller's, the thread's, and that of the list
  pthread_t thread;
};

typedef struct idle_thread {
  struct idle_thread *next;
  pthread_cond_t wake;
  worker *job;
} idle_thread;

// One mutex for everything: it is taken twice per wait, for a moment each.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t any_done;
static pthread_condattr_t monotonic;
static idle_thread *idle_threads;
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

// The one place where the end of a call meets cancel. Cancelled first: no code learns of the result, and `end` undoes
// it. Ended first: the result is listed, and cancelling finds nothing to interrupt.
static void finish(worker *self, int result) {
  worker_group *group = self->group;
  self->state = DONE;
  self->result = result;
  leave_running(self);
  pthread_cond_broadcast(&any_done);
  if (atomic_load(&self->cancelled) || !self->order.listed || group->destroyed) return;
  bool first = group->ended == NULL;
  self->references++;
  *group->ended_tail = self;
  group->ended_tail = &self->next;
  if (first) group->wake(group->data);
}

static bool cancel_locked(worker *self) {
  // A parked thread leaves that state under the mutex only, so it is there; one signal is enough. The signal is sent
  // before the flag is set: should sending fail, nothing has changed. A thread that handles the signal before it sees
  // the flag calls again on the inert descriptor, which fails at once, and then waits for this mutex.
  if (self->state == PARKED && (!cancel_is_possible() || !cancel_send(self->thread))) return false;
  atomic_store(&self->cancelled, true);  // STARTING: the thread looks before it parks
  return true;
}

// --- the threads ---------------------------------------------------------------------------------------------------

static void run(worker *self) {
  const worker_order *order = &self->order;
  int result = ECANCELED;
  self->thread = pthread_self();
  if (!atomic_load(&self->cancelled)) {
    self->state = PARKED;
    pthread_mutex_unlock(&mutex);
    cancel_open(order->fds[0], order->fds[1]);
    result = order->kind->run(order->call, &self->cancelled);
    cancel_close();
    pthread_mutex_lock(&mutex);
  }
  // The caller is told first: it need not wait for what is left to do here.
  bool cancelled = atomic_load(&self->cancelled);
  finish(self, result);
  pthread_mutex_unlock(&mutex);
  order->kind->end(order->call, cancelled);
  if (cancelled) cancel_drain();  // no thread sends the signal since the worker has ended
  pthread_mutex_lock(&mutex);
  release_locked(self);
}

static void *thread_main(void *argument) {
  idle_thread self = {.job = argument};
  cancel_prepare_thread();
  pthread_cond_init(&self.wake, &monotonic);
  pthread_mutex_lock(&mutex);
  while (self.job != NULL) {
    run(self.job);
    self.job = NULL;
    self.next = idle_threads;
    idle_threads = &self;
    struct timespec end = from_now(IDLE_SECONDS * 1e3);
    while (self.job == NULL && pthread_cond_timedwait(&self.wake, &mutex, &end) != ETIMEDOUT) continue;
    if (self.job == NULL) {
      idle_thread **link = &idle_threads;
      while (*link != &self) link = &(*link)->next;
      *link = self.next;
    }
  }
  threads--;
  pthread_mutex_unlock(&mutex);
  pthread_cond_destroy(&self.wake);
  return NULL;
}

// Blocks every signal in the new thread: no foreign handler shall run on its small stack.
static int create_thread(worker *job) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, &attributes, thread_main, job);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (error == 0) threads++;
  return error;
}

static int assign(worker *job) {
  idle_thread *idle = idle_threads;
  if (idle == NULL) return create_thread(job);
  idle_threads = idle->next;
  idle->job = job;
  pthread_cond_signal(&idle->wake);
  return 0;
}

// --- the interface -------------------------------------------------------------------------------------------------

worker_group *worker_group_create(void (*wake)(void *), void *data) {
  pthread_once(&once, initialize);
  cancel_prepare_thread();
  worker_group *group = calloc(1, sizeof *group);
  if (group == NULL) return NULL;
  *group = (worker_group){.wake = wake, .data = data, .ended_tail = &group->ended, .references = 1};
  return group;
}

void worker_group_destroy(worker_group *group) {
  pthread_mutex_lock(&mutex);
  group->destroyed = true;
  for (worker *one = group->running; one != NULL; one = one->next) cancel_locked(one);
  struct timespec end = from_now(JOIN_MS);
  while (group->running != NULL && pthread_cond_timedwait(&any_done, &mutex, &end) != ETIMEDOUT) continue;
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
  self->references = 2;

  pthread_mutex_lock(&mutex);
  int error = assign(self);
  if (error == 0) {
    group->references++;
    self->next = group->running;
    if (self->next != NULL) self->next->previous = self;
    group->running = self;
  }
  pthread_mutex_unlock(&mutex);

  if (error != 0) free(self);
  else *result = self;
  return error;
}

bool worker_cancel(worker *self) {
  pthread_mutex_lock(&mutex);
  bool interrupted = cancel_locked(self);
  pthread_mutex_unlock(&mutex);
  return interrupted;
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

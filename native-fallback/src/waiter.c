#include "waiter.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cancel.h"

enum { STACK_BYTES = 128 * 1024, IDLE_SECONDS = 2, JOIN_MS = 100 };

struct waiter_group {
  void (*wake)(void *);
  void *data;
  waiter *finished, **finished_tail;
  waiter *running;  // a doubly linked list
  bool destroyed;
  int references;
};

struct waiter {
  waiter *next, *previous;
  waiter_group *group;
  wait_order order;             // the descriptors are our own duplicates, -1 if none
  lock_identity lock, line;
  enum { STARTING, PARKED, DONE } state;
  atomic_bool cancelled;
  int result;
  int references;
  pthread_t thread;
  void *data;
  char paths[];
};

typedef struct idle_thread {
  struct idle_thread *next;
  pthread_cond_t wake;
  waiter *job;
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

static void release_group(waiter_group *group) {
  if (--group->references == 0) free(group);
}

static void release_locked(waiter *self) {
  if (--self->references > 0) return;
  release_group(self->group);
  free(self);
}

static void leave_running(waiter *self) {
  if (self->previous != NULL) self->previous->next = self->next;
  else self->group->running = self->next;
  if (self->next != NULL) self->next->previous = self->previous;
  self->next = self->previous = NULL;
}

// The one place where grant meets cancel. Cancelled first: nobody hears of the result, and a lock that was granted all
// the same goes with the last descriptor of its open file: the thread closes its duplicate, the caller its own when it
// cancels. Finished first: the result is listed, and cancelling finds nothing to interrupt.
static void finish(waiter *self, int result) {
  self->state = DONE;
  self->result = result;
  leave_running(self);
  pthread_cond_broadcast(&any_done);
  if (!atomic_load(&self->cancelled) && self->order.listed && !self->group->destroyed) {
    waiter_group *group = self->group;
    bool first = group->finished == NULL;
    *group->finished_tail = self;
    group->finished_tail = &self->next;
    if (first) group->wake(group->data);
  } else {
    release_locked(self);
  }
}

static bool cancel_locked(waiter *self) {
  // A parked thread leaves that state under the mutex only, so it is there; one signal is enough. The signal is sent
  // before the flag is set: should sending fail, nothing has changed. A thread that handles the signal before it sees
  // the flag calls again on the inert descriptor, which fails at once, and then waits for this mutex.
  if (self->state == PARKED && (!cancel_is_possible() || !cancel_send(self->thread))) return false;
  atomic_store(&self->cancelled, true);  // STARTING: the thread looks before it parks
  return true;
}

// --- the threads ---------------------------------------------------------------------------------------------------

// Every step can be begun again after a signal that was not meant for it.
static bool interrupted(const waiter *self, int result) { return result == EINTR && !atomic_load(&self->cancelled); }

static int wait_for_turn(waiter *self) {
  wait_order *order = &self->order;
  int result = 0;
  if (order->ticket == NO_TICKET) {
    do result = ticket_draw(order->line_fd, &self->line, order->shared, true, &order->ticket);
    while (interrupted(self, result));
  }
  if (result != 0 || order->draw_only) return result;
  do result = ticket_wait_turn(order->line_fd, order->ticket);
  while (interrupted(self, result));
  return result;
}

static int wait_for_lock(waiter *self) {
  wait_order *order = &self->order;
  int result;
  do result = lock_wait(&order->target, order->shared);
  while (interrupted(self, result));
  return result == 0 ? check_identity(&self->lock, order->target.fd) : result;
}

static int work(waiter *self) {
  int result = self->order.line == NULL ? 0 : wait_for_turn(self);
  return result != 0 || self->order.lock == NULL ? result : wait_for_lock(self);
}

static void close_both(const wait_order *order) {
  if (order->line_fd >= 0) close(order->line_fd);
  if (order->target.fd >= 0) close(order->target.fd);
}

static void run(waiter *self) {
  int result = ECANCELED;
  self->thread = pthread_self();
  if (!atomic_load(&self->cancelled)) {
    self->state = PARKED;
    pthread_mutex_unlock(&mutex);
    cancel_open(self->order.line_fd, self->order.target.fd);
    result = work(self);
    cancel_close();
    // Passes the turn: the next in line parks behind the main lock while its holder works. Before the caller is told, who
    // may remove the sidecar or draw another ticket at once. (One that is called off at this very moment and goes on to
    // wait anew has lost its place in the line, no more.)
    if (result == 0 && self->order.lock != NULL && self->order.line != NULL && !atomic_load(&self->cancelled)) {
      ticket_drop(self->order.line_fd);
      self->order.ticket = NO_TICKET;
    }
    pthread_mutex_lock(&mutex);
  }
  // The caller is told first: what is left to do here, it need not wait for.
  wait_order order = self->order;
  bool cancelled = atomic_load(&self->cancelled);
  finish(self, result);
  pthread_mutex_unlock(&mutex);
  if (cancelled && order.lock != NULL) lock_undo(&order.target);
  close_both(&order);
  if (cancelled) cancel_drain();  // nobody has sent it since the waiter was finished
  pthread_mutex_lock(&mutex);
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
static int create_thread(waiter *job) {
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

static int assign(waiter *job) {
  idle_thread *idle = idle_threads;
  if (idle == NULL) return create_thread(job);
  idle_threads = idle->next;
  idle->job = job;
  pthread_cond_signal(&idle->wake);
  return 0;
}

// --- the interface -------------------------------------------------------------------------------------------------

waiter_group *group_create(void (*wake)(void *), void *data) {
  pthread_once(&once, initialize);
  cancel_prepare_thread();
  waiter_group *group = calloc(1, sizeof *group);
  if (group == NULL) return NULL;
  *group = (waiter_group){.wake = wake, .data = data, .finished_tail = &group->finished, .references = 1};
  return group;
}

void group_destroy(waiter_group *group) {
  pthread_mutex_lock(&mutex);
  group->destroyed = true;
  for (waiter *one = group->running; one != NULL; one = one->next) cancel_locked(one);
  struct timespec end = from_now(JOIN_MS);
  while (group->running != NULL && pthread_cond_timedwait(&any_done, &mutex, &end) != ETIMEDOUT) continue;
  while (group->finished != NULL) {
    waiter *one = group->finished;
    group->finished = one->next;
    release_locked(one);
  }
  release_group(group);
  pthread_mutex_unlock(&mutex);
}

waiter *group_take(waiter_group *group) {
  pthread_mutex_lock(&mutex);
  waiter *one = group->finished;
  if (one != NULL) {
    group->finished = one->next;
    if (group->finished == NULL) group->finished_tail = &group->finished;
    one->next = NULL;
  }
  pthread_mutex_unlock(&mutex);
  return one;
}

// Duplicates, so that no closing of the caller's descriptor, nor another file under its number, can touch the wait.
static int duplicate(bool wanted, int fd, int *result) {
  *result = wanted ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  return wanted && *result < 0 ? errno : 0;
}

static char *copy_identity(lock_identity *copy, const lock_identity *identity, char *at) {
  if (identity == NULL) return at;
  *copy = *identity;
  copy->path = strcpy(at, identity->path);
  return at + strlen(at) + 1;
}

int waiter_start(waiter_group *group, const wait_order *order, void *data, waiter **result) {
  size_t lock_size = order->lock == NULL ? 0 : strlen(order->lock->path) + 1;
  size_t line_size = order->line == NULL ? 0 : strlen(order->line->path) + 1;
  waiter *self = calloc(1, sizeof *self + lock_size + line_size);
  if (self == NULL) return ENOMEM;
  self->group = group;
  self->order = *order;
  copy_identity(&self->line, order->line, copy_identity(&self->lock, order->lock, self->paths));
  self->references = 2;
  self->data = data;
  int error = duplicate(order->line != NULL, order->line_fd, &self->order.line_fd);
  int lock_error = duplicate(order->lock != NULL, order->target.fd, &self->order.target.fd);
  if (error == 0) error = lock_error;

  pthread_mutex_lock(&mutex);
  if (error == 0) error = assign(self);
  if (error == 0) {
    group->references++;
    self->next = group->running;
    if (self->next != NULL) self->next->previous = self;
    group->running = self;
  }
  pthread_mutex_unlock(&mutex);

  if (error != 0) {
    close_both(&self->order);
    free(self);
    return error;
  }
  *result = self;
  return 0;
}

bool waiter_cancel(waiter *self) {
  pthread_mutex_lock(&mutex);
  bool interrupted = cancel_locked(self);
  pthread_mutex_unlock(&mutex);
  return interrupted;
}

bool waiter_join(waiter *self, double ms) {
  struct timespec end = from_now(ms);
  pthread_mutex_lock(&mutex);
  while (self->state != DONE && pthread_cond_timedwait(&any_done, &mutex, &end) != ETIMEDOUT) continue;
  bool done = self->state == DONE;
  pthread_mutex_unlock(&mutex);
  return done;
}

int waiter_result(const waiter *self) { return self->result; }

int64_t waiter_ticket(const waiter *self) { return self->order.ticket; }

void *waiter_data(const waiter *self) { return self->data; }

void waiter_set_data(waiter *self, void *data) { self->data = data; }

void waiter_release(waiter *self) {
  pthread_mutex_lock(&mutex);
  release_locked(self);
  pthread_mutex_unlock(&mutex);
}

int waiter_threads(void) {
  pthread_mutex_lock(&mutex);
  int count = threads;
  pthread_mutex_unlock(&mutex);
  return count;
}

// Blocking calls that can be cancelled, each on a thread that belongs to it. It knows nothing of locks: see
// lock_wait.h. README.md explains threads and signals.
#ifndef FAIRLOCK_WORKER_H
#define FAIRLOCK_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct worker worker;
typedef struct worker_group worker_group;

// The workers of one JavaScript environment. `wake` is called on a worker's thread when there is something for
// `worker_group_take` to take.
worker_group *worker_group_create(void (*wake)(void *), void *data);
// Cancels all workers of the group. No `wake` after it. Waits for their threads, but for 100 ms at most.
void worker_group_destroy(worker_group *group);
// The next worker that has ended, NULL if there is none. The reference is the caller's now.
worker *worker_group_take(worker_group *group);

// What a worker does.
typedef struct {
  // On the thread: blocks, and returns 0 or an errno. After EINTR it goes on, unless `*cancelled`.
  int (*run)(void *call, const atomic_bool *cancelled);
  // With the last reference, with the mutex of seats.h held.
  void (*destroy)(void *call);
} worker_kind;

typedef struct {
  const worker_kind *kind;
  void *call;   // the worker's, if it starts
  bool listed;  // it goes to the group's list when it has ended; else the result is fetched with worker_join
  int id;       // the caller's
} worker_order;

// The reference is the caller's. 0 or an errno.
int worker_start(worker_group *group, const worker_order *order, worker **result);
// Ends it: it does nothing any more once this returns true, and is never listed; `*result` is what `run` returned, which
// may be that it succeeded just before, or ECANCELED. False: it cannot be interrupted (the signal has another handler,
// say) and goes on; it is listed when it has ended, with whatever result.
bool worker_cancel(worker *self, int *result);
// Waits for a worker that is not listed: true if it ended within `ms`.
bool worker_join(worker *self, double ms);
// What `run` returned, or ECANCELED.
int worker_result(const worker *self);
void *worker_call(const worker *self);
int worker_id(const worker *self);
void worker_release(worker *self);
int worker_threads(void);

#endif

#include "lock_wait.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  lock_wait_order order;
  lock_identity lock, sidecar;
  off_t wait_for;  // the byte of an earlier ticket
  char paths[];
} lock_wait;

// Of a file system whose answers contradict each other (locked, though we were granted it): so often is no coincidence.
enum { MOST_SPINS = 1000 };

// After a cancel no call may begin: the caller may have closed the files, and their numbers may be others' by now. The
// call that was going on is interrupted or, where it cannot be, has kept its open file until it ends.
//   1. The wait for the turn cannot be interrupted. 2. The environment ends: its descriptors are closed. 3. The turn
//   comes. 4. Another file has got the number of the lock file: to lock that is to lock a stranger's file.
// Every step can be begun again after a signal that was not meant for it.
static int unless_cancelled(int (*step)(lock_wait *), lock_wait *self, const atomic_bool *cancelled) {
  int result;
  do {
    if (atomic_load(cancelled)) return ECANCELED;
    result = step(self);
  } while (result == EINTR);
  return result;
}

static int take_ticket(lock_wait *self) {
  lock_wait_order *order = &self->order;
  return ticket_take(order->sidecar_fd, &self->sidecar, order->shared, true, &order->place);
}

static int wait_step(lock_wait *self) {
  return ticket_wait_step(self->order.sidecar_fd, &self->order.place, &self->wait_for);
}

static int wait_for_turn(lock_wait *self, const atomic_bool *cancelled) {
  self->wait_for = ticket_predecessor(self->order.sidecar_fd, &self->order.place);
  for (int spins = 0; spins < MOST_SPINS; spins++) {
    off_t before = self->wait_for;
    int result = unless_cancelled(wait_step, self, cancelled);
    if (result != EAGAIN) return result;
    if (self->wait_for != before) spins = 0;
  }
  return EBUSY;
}

static int wait_for_lock(lock_wait *self) {
  lock_wait_order *order = &self->order;
  int result = lock_block(&order->target, order->shared);
  return result == 0 ? check_identity(&self->lock, order->target.fd) : result;
}

static int run(void *call, const atomic_bool *cancelled) {
  lock_wait *self = call;
  lock_wait_order *order = &self->order;
  int result = 0;
  if (order->sidecar != NULL && order->place.ticket == NO_TICKET)
    result = unless_cancelled(take_ticket, self, cancelled);
  if (order->ticket_only || result != 0) return result;
  if (order->sidecar != NULL) result = wait_for_turn(self, cancelled);
  if (order->lock == NULL || result != 0) return result;
  result = unless_cancelled(wait_for_lock, self, cancelled);
  // Passes the turn: the next request parks behind the main lock while its holder works. Before the caller is told,
  // which may remove the sidecar or take another ticket at once. A wait that is cancelled just after this was granted
  // all the same: worker_cancel tells. One that cannot be cancelled in time keeps the ticket, which its request may
  // still use.
  if (result == 0 && order->sidecar != NULL && !atomic_load(cancelled)) ticket_drop(order->sidecar_fd, &order->place);
  return result;
}

static const worker_kind kind = {.run = run, .destroy = free};

static char *copy_identity(lock_identity *copy, const lock_identity *identity, char *at) {
  if (identity == NULL) return at;
  *copy = *identity;
  copy->path = strcpy(at, identity->path);
  return at + strlen(at) + 1;
}

int lock_wait_start(worker_group *group, const lock_wait_order *order, worker **result) {
  size_t lock_size = order->lock == NULL ? 0 : strlen(order->lock->path) + 1;
  size_t sidecar_size = order->sidecar == NULL ? 0 : strlen(order->sidecar->path) + 1;
  lock_wait *self = calloc(1, sizeof *self + lock_size + sidecar_size);
  if (self == NULL) return ENOMEM;
  self->order = *order;
  copy_identity(&self->sidecar, order->sidecar, copy_identity(&self->lock, order->lock, self->paths));
  worker_order call = {.kind = &kind, .call = self, .listed = order->listed, .id = order->id};
  int error = worker_start(group, &call, result);
  if (error != 0) free(self);
  return error;
}

ticket_place lock_wait_place(const worker *wait) { return ((const lock_wait *)worker_call(wait))->order.place; }

#include "lock_wait.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  lock_wait_order order;
  lock_identity lock, sidecar;
  char paths[];
} lock_wait;

// Every step can be begun again after a signal that was not meant for it.
static bool interrupted(int result, const atomic_bool *cancelled) { return result == EINTR && !atomic_load(cancelled); }

static int take_ticket(lock_wait *self, const atomic_bool *cancelled) {
  lock_wait_order *order = &self->order;
  int result;
  do result = ticket_take(order->sidecar_fd, &self->sidecar, order->shared, true, &order->place);
  while (interrupted(result, cancelled));
  return result;
}

static int wait_for_turn(lock_wait *self, const atomic_bool *cancelled) {
  lock_wait_order *order = &self->order;
  int result;
  do result = ticket_wait_turn(order->sidecar_fd, &order->place);
  while (interrupted(result, cancelled));
  return result;
}

static int wait_for_lock(lock_wait *self, const atomic_bool *cancelled) {
  lock_wait_order *order = &self->order;
  int result;
  do result = lock_block(&order->target, order->shared);
  while (interrupted(result, cancelled));
  return result == 0 ? check_identity(&self->lock, order->target.fd) : result;
}

static int run(void *call, const atomic_bool *cancelled) {
  lock_wait *self = call;
  lock_wait_order *order = &self->order;
  int result = 0;
  if (order->sidecar != NULL && order->place.ticket == NO_TICKET) result = take_ticket(self, cancelled);
  if (order->ticket_only || result != 0) return result;
  if (order->sidecar != NULL) result = wait_for_turn(self, cancelled);
  if (order->lock == NULL || result != 0) return result;
  result = wait_for_lock(self, cancelled);
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

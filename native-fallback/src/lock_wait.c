#include "lock_wait.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  lock_wait_order order;  // the descriptors are our own duplicates, -1 if none
  lock_identity lock, sidecar;
  char paths[];
} lock_wait;

// Every step can be begun again after a signal that was not meant for it.
static bool interrupted(int result, const atomic_bool *cancelled) { return result == EINTR && !atomic_load(cancelled); }

static int wait_for_turn(lock_wait *self, const atomic_bool *cancelled) {
  lock_wait_order *order = &self->order;
  int result = 0;
  if (order->ticket == NO_TICKET) {
    do result = ticket_take(order->sidecar_fd, &self->sidecar, order->shared, true, &order->ticket);
    while (interrupted(result, cancelled));
  }
  if (result != 0 || order->ticket_only) return result;
  do result = ticket_wait_turn(order->sidecar_fd, order->ticket);
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
  int result = order->sidecar == NULL ? 0 : wait_for_turn(self, cancelled);
  if (result != 0 || order->lock == NULL) return result;
  result = wait_for_lock(self, cancelled);
  // Passes the turn: the next request parks behind the main lock while its holder works. Before the caller is told,
  // which may remove the sidecar or take another ticket at once. (A wait that is cancelled at this very moment, and
  // whose request waits anew, has lost its place in the queue, no more.)
  if (result == 0 && order->sidecar != NULL && !atomic_load(cancelled)) {
    ticket_drop(order->sidecar_fd);
    order->ticket = NO_TICKET;
  }
  return result;
}

static void close_both(const lock_wait_order *order) {
  if (order->sidecar_fd >= 0) close(order->sidecar_fd);
  if (order->target.fd >= 0) close(order->target.fd);
}

// A lock that was granted though the wait was cancelled goes with the last descriptor of its open file: this thread
// closes its duplicate, the caller its own when it cancels.
static void end(void *call, bool cancelled) {
  lock_wait *self = call;
  if (cancelled && self->order.lock != NULL) lock_undo(&self->order.target);
  close_both(&self->order);
}

static const worker_kind kind = {.run = run, .end = end, .destroy = free};

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

int lock_wait_start(worker_group *group, const lock_wait_order *order, worker **result) {
  size_t lock_size = order->lock == NULL ? 0 : strlen(order->lock->path) + 1;
  size_t sidecar_size = order->sidecar == NULL ? 0 : strlen(order->sidecar->path) + 1;
  lock_wait *self = calloc(1, sizeof *self + lock_size + sidecar_size);
  if (self == NULL) return ENOMEM;
  self->order = *order;
  copy_identity(&self->sidecar, order->sidecar, copy_identity(&self->lock, order->lock, self->paths));
  int error = duplicate(order->sidecar != NULL, order->sidecar_fd, &self->order.sidecar_fd);
  int lock_error = duplicate(order->lock != NULL, order->target.fd, &self->order.target.fd);
  if (error == 0) error = lock_error;
  worker_order call = {.kind = &kind, .call = self, .listed = order->listed, .id = order->id};
  call.fds[0] = self->order.sidecar_fd;
  call.fds[1] = self->order.target.fd;
  if (error == 0) error = worker_start(group, &call, result);
  if (error == 0) return 0;
  close_both(&self->order);
  free(self);
  return error;
}

int64_t lock_wait_ticket(const worker *wait) { return ((const lock_wait *)worker_call(wait))->order.ticket; }

// A wait for a lock, as a call for a worker: first for its turn in the ticket queue, then for the lock.
#ifndef FAIRLOCK_LOCK_WAIT_H
#define FAIRLOCK_LOCK_WAIT_H

#include "lock.h"
#include "ticket.h"
#include "worker.h"

typedef struct {
  bool shared;
  // 1. If there is a sidecar: takes a ticket there, unless it has one, and waits for its turn, unless `ticket_only`.
  const lock_identity *sidecar;
  int sidecar_fd;
  int64_t ticket;
  bool ticket_only;
  // 2. If there is a lock: waits for it, compares the file with the one at its path, and drops the ticket.
  const lock_identity *lock;
  lock_target target;
  // See worker_order.
  bool listed;
  int id;
} lock_wait_order;

// Descriptors are duplicated, paths copied. The worker's result: 0: granted; ESTALE: granted on a file that is not at
// the path any more; else the error of the system call.
int lock_wait_start(worker_group *group, const lock_wait_order *order, worker **result);
// The ticket of such a worker, NO_TICKET if none (any more).
int64_t lock_wait_ticket(const worker *wait);

#endif

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
  lock_fd sidecar_fd;
  ticket_place place;
  bool ticket_only;
  // 2. If there is a lock: waits for it, compares the file with the one at its path, and drops the ticket.
  const lock_identity *lock;
  lock_target target;
  // See worker_order.
  bool listed;
  int id;
} lock_wait_order;

// The descriptors stay the caller's, and open until the wait has ended; paths are copied. The worker's result: 0:
// granted; ESTALE: granted on a file that is not at the path any more; else the error of the system call. After a
// cancel the caller undoes what was granted, by closing.
int lock_wait_start(worker_group *group, const lock_wait_order *order, worker **result);
// The place of such a worker, which has ended.
ticket_place lock_wait_place(const worker *wait);

#endif

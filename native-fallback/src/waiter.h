// Waits that stand in the kernel's own queue, each on a thread that belongs to it. See README.md for threads and signals.
#ifndef FAIRLOCK_WAITER_H
#define FAIRLOCK_WAITER_H

#include "lock.h"
#include "ticket.h"

typedef struct waiter waiter;
typedef struct waiter_group waiter_group;

// The waiters of one JavaScript environment. `wake` is called on a waiter's thread, with the one mutex of this file
// held, when there is something for `group_take` to take.
waiter_group *group_create(void (*wake)(void *), void *data);
// Ends all waits of the group. No `wake` after it. Waits for their threads, but for 100 ms at most.
void group_destroy(waiter_group *group);
// The next finished waiter, NULL if there is none. It is the caller's reference now.
waiter *group_take(waiter_group *group);

// What a waiter does, in this order; descriptors are duplicated, paths copied.
typedef struct {
  bool shared;
  bool draw_only;
  bool listed;  // it goes to the group's list when it is finished; else the result is fetched with waiter_join
  // 1. If there is a line: draws a ticket there, unless it has one, and waits for its turn, unless `draw_only`.
  const lock_identity *line;
  int line_fd;
  int64_t ticket;
  // 2. If there is a lock: waits for it, compares the file with the one at its path, and gives up the ticket.
  const lock_identity *lock;
  lock_target target;
} wait_order;

// Two references: the caller's, and the thread's, which goes to the list with it.
int waiter_start(waiter_group *group, const wait_order *order, void *data, waiter **result);
// Gives up: the thread lets go of a late grant, and the waiter is never listed. False: it cannot be interrupted (the
// signal belongs to somebody else) and waits on.
bool waiter_cancel(waiter *self);
// Waits for a waiter that is not listed: true if it finished within `ms`.
bool waiter_join(waiter *self, double ms);
// 0: granted; ESTALE: granted on a file that is not at the path any more; else the error of the system call.
int waiter_result(const waiter *self);
// The ticket it has, NO_TICKET if none (any more).
int64_t waiter_ticket(const waiter *self);
void *waiter_data(const waiter *self);
void waiter_set_data(waiter *self, void *data);
void waiter_release(waiter *self);
int waiter_threads(void);

#endif

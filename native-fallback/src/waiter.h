// Waits that stand in the kernel's own queue, each on a thread that belongs to it. See README.md for threads and signals.
#ifndef FAIRLOCK_WAITER_H
#define FAIRLOCK_WAITER_H

#include "lock.h"

typedef struct waiter waiter;
typedef struct waiter_group waiter_group;

// The waiters of one JavaScript environment. `wake` is called on a waiter's thread, with the one mutex of this file
// held, when there is something for `group_take` to take.
waiter_group *group_create(void (*wake)(void *), void *data);
// Ends all waits of the group. No `wake` after it. Waits for their threads, but for 100 ms at most.
void group_destroy(waiter_group *group);
// The next finished waiter, NULL if there is none. It is the caller's reference now.
waiter *group_take(waiter_group *group);

// Parks a wait; the descriptor is duplicated, the path copied. Two references: the caller's, and the thread's, which
// goes to the group's list of finished ones if `listed`, else the result is to be fetched with `waiter_join`.
int waiter_start(waiter_group *group, const lock_target *target, const lock_identity *identity, bool shared, bool listed,
                 waiter **result);
// Gives up: the thread lets go of a late grant, and the waiter is never listed. False: it cannot be interrupted (the
// signal belongs to somebody else) and waits on.
bool waiter_cancel(waiter *self);
// Waits for a waiter that is not listed: true if it finished within `ms`.
bool waiter_join(waiter *self, double ms);
// 0: granted; ESTALE: granted on a file that is not at the path any more; else the error of the system call.
int waiter_result(const waiter *self);
void *waiter_data(const waiter *self);
void waiter_set_data(waiter *self, void *data);
void waiter_release(waiter *self);
int waiter_threads(void);

#endif

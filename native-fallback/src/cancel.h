// The signal that cancels a wait. See README.md for why one is enough.
#ifndef FAIRLOCK_CANCEL_H
#define FAIRLOCK_CANCEL_H

#include <pthread.h>
#include <stdbool.h>

// Looks for a signal. Once, before any other call.
void cancel_initialize(void);
// For every thread that may get the signal, from us or from another program: touches what the handler uses.
void cancel_prepare_thread(void);
// From here on the signal ends any wait of this thread on these descriptors; -1: none.
void cancel_open(int first, int second);
// It does not get through any more: a copy that comes late stays pending.
void cancel_close(void);
// Discards a copy that came late: it must not hit this thread's next wait. When no thread sends one any more.
void cancel_drain(void);
// Whether the signal is there and still ours.
bool cancel_is_possible(void);
// Only to a thread that waits, or is about to: it meets `cancel_open` before it begins. False: the signal was not sent
// (the limit of queued signals is reached).
bool cancel_send(pthread_t thread);

#endif

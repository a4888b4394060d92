// The signal that cancels a wait. See README.md.
#ifndef FAIRLOCK_CANCEL_H
#define FAIRLOCK_CANCEL_H

#include <pthread.h>
#include <stdbool.h>

// Looks for a signal. Once, before any other call.
void cancel_initialize(void);
// From here on the signal reaches this thread.
void cancel_admit(void);
// Whether the signal is there and still ours.
bool cancel_is_possible(void);
// Ends the blocking call that the thread is in. If it is only about to call, that is not ended: the caller sends again.
void cancel_send(pthread_t thread);

#endif

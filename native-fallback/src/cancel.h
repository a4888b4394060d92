// What cancels a wait: a signal, or CancelSynchronousIo. See README.md.
#ifndef FAIRLOCK_CANCEL_H
#define FAIRLOCK_CANCEL_H

#include <stdbool.h>

#include "threads.h"

// Looks for a signal. Once, before any other call.
void cancel_initialize(void);
// From here on it reaches this thread.
void cancel_admit(void);
// Whether there is a signal, and it is still ours.
bool cancel_is_possible(void);
// Ends the blocking call that the thread is in. If it is only about to call, that is not ended: the caller sends again.
void cancel_send(thread thread);

#endif

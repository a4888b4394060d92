// The threads of the workers: each has a seat, where it is kept idle for two seconds for the next job.
#ifndef FAIRLOCK_SEATS_H
#define FAIRLOCK_SEATS_H

#include "threads.h"

// One for everything here and in worker.c: it is taken three times per wait, for a moment each, and never while a call
// blocks. All functions but `seats_ring` are called with it held.
extern mutex seats_mutex;

typedef struct seat seat;

// `run` is called with the mutex held, on an idle thread or a new one. `*woken`: whose bell is to be rung without the
// mutex, NULL if none. 0 or an errno; EAGAIN: there is no thread to wait on.
int seats_assign(void (*run)(void *job), void *job, seat **woken);
void seats_ring(seat *woken);
// Those that run, and those that are idle.
int seats_threads(void);

#endif

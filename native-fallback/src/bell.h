// Wakes one thread. Not a condition variable: what waits on one takes its mutex as if others wanted it, and then makes
// a system call to give it back.
#ifndef FAIRLOCK_BELL_H
#define FAIRLOCK_BELL_H

#include <stdbool.h>

#ifdef __APPLE__
#include <dispatch/dispatch.h>

typedef dispatch_semaphore_t bell;

static inline void bell_make(bell *self) { *self = dispatch_semaphore_create(0); }

static inline void bell_ring(bell *self) { dispatch_semaphore_signal(*self); }

static inline bool bell_wait(bell *self, int seconds) {
  return dispatch_semaphore_wait(*self, dispatch_time(DISPATCH_TIME_NOW, (int64_t)seconds * NSEC_PER_SEC)) == 0;
}
#elif defined(_WIN32)
#include <windows.h>

typedef HANDLE bell;

static inline void bell_make(bell *self) { *self = CreateEventW(NULL, FALSE, FALSE, NULL); }

static inline void bell_ring(bell *self) { SetEvent(*self); }

static inline bool bell_wait(bell *self, int seconds) {
  return WaitForSingleObject(*self, (DWORD)seconds * 1000) == WAIT_OBJECT_0;
}
#else
#include <errno.h>
#include <semaphore.h>
#include <time.h>

typedef sem_t bell;

static inline void bell_make(bell *self) { sem_init(self, 0, 0); }

static inline void bell_ring(bell *self) { sem_post(self); }

// False: it was not rung for so long, by the wall clock: what depends on it must bear that this is set.
static inline bool bell_wait(bell *self, int seconds) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += seconds;
  int error;
  do error = sem_timedwait(self, &end) == 0 ? 0 : errno;
  while (error == EINTR);
  return error == 0;
}
#endif

#endif

// What threads need of the system: a mutex, a condition with an end by a clock, and threads that no other one joins.
#ifndef FAIRLOCK_THREADS_H
#define FAIRLOCK_THREADS_H

#ifdef _WIN32
#include "windows_threads.h"
#else
#include <pthread.h>
#include <time.h>

#ifdef __APPLE__
#define THREADS_CLOCK CLOCK_REALTIME
#else
#define THREADS_CLOCK CLOCK_MONOTONIC
#endif

typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
typedef pthread_t thread;

#define MUTEX_INITIALIZER PTHREAD_MUTEX_INITIALIZER

static inline void mutex_lock(mutex *self) { pthread_mutex_lock(self); }

static inline void mutex_unlock(mutex *self) { pthread_mutex_unlock(self); }

static inline double now_ms(void) {
  struct timespec now;
  clock_gettime(THREADS_CLOCK, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inline void condition_make(condition *self) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
#ifndef __APPLE__
  pthread_condattr_setclock(&attributes, THREADS_CLOCK);
#endif
  pthread_cond_init(self, &attributes);
}

// Until it is told, or now_ms() is `end`; or for no reason.
static inline void condition_wait(condition *self, mutex *held, double end) {
  struct timespec at = {.tv_sec = (time_t)(end / 1e3)};
  at.tv_nsec = (long)((end - (double)at.tv_sec * 1e3) * 1e6);
  pthread_cond_timedwait(self, held, &at);
}

static inline void condition_tell_all(condition *self) { pthread_cond_broadcast(self); }

static inline thread thread_self(void) { return pthread_self(); }
#endif

// 0 or an errno; EAGAIN: the system has no thread left.
int thread_start(void *(*run)(void *), void *data);

#endif

// threads.h on Windows.
#ifndef FAIRLOCK_WINDOWS_THREADS_H
#define FAIRLOCK_WINDOWS_THREADS_H

#include <windows.h>

typedef SRWLOCK mutex;
typedef CONDITION_VARIABLE condition;
typedef DWORD thread;

#define MUTEX_INITIALIZER SRWLOCK_INIT

static inline void mutex_lock(mutex *self) { AcquireSRWLockExclusive(self); }

static inline void mutex_unlock(mutex *self) { ReleaseSRWLockExclusive(self); }

static inline double now_ms(void) { return (double)GetTickCount64(); }

static inline void condition_make(condition *self) { InitializeConditionVariable(self); }

static inline void condition_wait(condition *self, mutex *held, double end) {
  double ms = end - now_ms();
  SleepConditionVariableSRW(self, held, ms <= 0 ? 0 : (DWORD)ms + 1, 0);
}

static inline void condition_tell_all(condition *self) { WakeAllConditionVariable(self); }

static inline thread thread_self(void) { return GetCurrentThreadId(); }

#endif

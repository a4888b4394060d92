#include "threads.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

enum { STACK_BYTES = 128 * 1024, MOST_STACK_BYTES = 8 * 1024 * 1024 };

// Blocks every signal in the new thread: no foreign handler shall run on its small stack.
int thread_start(void *(*run)(void *), void *data) {
  pthread_attr_t attributes;
  pthread_t made;
  sigset_t all, before;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // glibc takes the thread-local variables of all libraries from the stack, and says EINVAL where too little is left
  // (sysdeps of nptl/allocatestack.c).
  int error = EINVAL;
  for (size_t bytes = STACK_BYTES; error == EINVAL && bytes <= MOST_STACK_BYTES; bytes *= 2) {
    pthread_attr_setstacksize(&attributes, bytes);
    error = pthread_create(&made, &attributes, run, data);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error == EINVAL ? EAGAIN : error;
}

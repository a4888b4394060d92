#include "cancel.h"

#include <signal.h>

static int cancel_signal;  // 0: none is available

// Interrupts a system call by being handled at all.
static void on_cancel_signal(int number) { (void)number; }

// The first signal from SIGRTMIN+7 on without a handler: glibc has the first ones, valgrind the last.
void cancel_initialize(void) {
#ifdef SIGRTMIN
  int first = SIGRTMIN + 7, last = SIGRTMAX - 1;
#else
  int first = SIGURG, last = SIGURG;
#endif
  for (int number = first; number <= last; number++) {
    // No SA_RESTART. SA_ONSTACK: where a process-directed copy reaches a thread with a small stack of its own (Go, cgo),
    // the handler runs on that thread's alternate stack.
    struct sigaction current, ours = {.sa_handler = on_cancel_signal, .sa_flags = SA_ONSTACK};
    if (sigaction(number, NULL, &current) != 0 || current.sa_handler != SIG_DFL) continue;
    sigfillset(&ours.sa_mask);
    if (sigaction(number, &ours, NULL) == 0) cancel_signal = number;
    return;
  }
}

void cancel_admit(void) {
  sigset_t ours;
  sigemptyset(&ours);
  if (cancel_signal != 0) sigaddset(&ours, cancel_signal);
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

bool cancel_is_possible(void) {
  struct sigaction current;
  return cancel_signal != 0 && sigaction(cancel_signal, NULL, &current) == 0 && current.sa_handler == on_cancel_signal;
}

void cancel_send(thread thread) { pthread_kill(thread, cancel_signal); }

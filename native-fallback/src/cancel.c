#include "cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static int cancel_signal;  // 0: none is available
static int inert_fd = -1;  // no lock call on it ever waits

// The descriptors that this thread waits on, -1 when it does not.
static _Thread_local volatile sig_atomic_t parked_fds[2] = {-1, -1};

// Interrupts the system call by being handled at all. The signal may also come just before the call begins: so it
// puts the inert descriptor in the place of the one waited on, and the call fails (EBADF) instead of waiting.
static void on_cancel_signal(int number) {
  (void)number;
  int saved = errno;
  for (int i = 0; i < 2; i++) {
#ifdef __linux__
    if (parked_fds[i] >= 0) dup3(inert_fd, parked_fds[i], O_CLOEXEC);
#else
    if (parked_fds[i] >= 0) dup2(inert_fd, parked_fds[i]);
#endif
  }
  errno = saved;
}

// The first signal from SIGRTMIN+7 on without a handler: glibc has the first ones, valgrind the last.
static void choose_signal(void) {
#ifdef SIGRTMIN
  int first = SIGRTMIN + 7, last = SIGRTMAX - 1;
#else
  int first = SIGURG, last = SIGURG;
#endif
  for (int number = first; number <= last; number++) {
    struct sigaction current, ours = {.sa_handler = on_cancel_signal};  // no SA_RESTART
    if (sigaction(number, NULL, &current) != 0 || current.sa_handler != SIG_DFL) continue;
    sigfillset(&ours.sa_mask);
    if (sigaction(number, &ours, NULL) == 0) cancel_signal = number;
    return;
  }
}

void cancel_initialize(void) {
#ifdef O_PATH
  inert_fd = open("/", O_PATH | O_CLOEXEC);
#else
  int ends[2];
  if (pipe(ends) == 0) {
    close(ends[1]);
    inert_fd = ends[0];
    fcntl(inert_fd, F_SETFD, FD_CLOEXEC);
  }
#endif
  if (inert_fd >= 0) choose_signal();
}

// So that the handler need not allocate them.
void cancel_prepare_thread(void) { parked_fds[0] = parked_fds[1] = -1; }

static sigset_t only_ours(void) {
  sigset_t set;
  sigemptyset(&set);
  if (cancel_signal != 0) sigaddset(&set, cancel_signal);
  return set;
}

void cancel_open(int first, int second) {
  sigset_t ours = only_ours();
  parked_fds[0] = first;
  parked_fds[1] = second;
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

void cancel_close(void) {
  sigset_t ours = only_ours();
  pthread_sigmask(SIG_BLOCK, &ours, NULL);
  parked_fds[0] = parked_fds[1] = -1;
}

void cancel_drain(void) {
  if (cancel_signal == 0) return;
  sigset_t ours = only_ours();
#ifdef __linux__
  while (sigtimedwait(&ours, NULL, &(struct timespec){0}) >= 0) continue;
#else
  sigset_t pending;
  int number;
  while (sigpending(&pending) == 0 && sigismember(&pending, cancel_signal) == 1) sigwait(&ours, &number);
#endif
}

bool cancel_is_possible(void) {
  struct sigaction current;
  return cancel_signal != 0 && sigaction(cancel_signal, NULL, &current) == 0 && current.sa_handler == on_cancel_signal;
}

bool cancel_send(pthread_t thread) { return pthread_kill(thread, cancel_signal) == 0; }

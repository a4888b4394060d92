#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int pass_on(int fd) {
  int flags = fcntl(fd, F_GETFD);
  return flags < 0 ? errno : fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) != 0 ? errno : 0;
}

void set_signals(signal_list defaults, signal_list ignored) {
  sigset_t none;
  for (int i = 0; i < defaults.count; i++) signal(defaults.numbers[i], SIG_DFL);
  for (int i = 0; i < ignored.count; i++) signal(ignored.numbers[i], SIG_IGN);
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
}

int replace_process(const program *next) {
  // Node marks even these close-on-exec at its start; one that is closed stays closed.
  for (int standard = 0; standard <= 2; standard++) pass_on(standard);
  for (int i = 0; i < next->inherited_count; i++) pass_on(next->inherited[i]);
  // The number may be one of Node's own descriptors: kept aside, in case the program cannot be executed.
  int aside = next->fd == next->as ? -1 : fcntl(next->as, F_DUPFD_CLOEXEC, 3);
  int error = next->fd == next->as ? pass_on(next->fd) : dup2(next->fd, next->as) < 0 ? errno : 0;
  if (error == 0) {
    execvp(next->argv[0], next->argv);
    error = errno;
  }
  if (aside >= 0) {
    dup2(aside, next->as);
    close(aside);
  }
  return error;
}

#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

extern char **environ;

static int pass_on(int fd) {
  int flags = fcntl(fd, F_GETFD);
  return flags < 0 ? errno : fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) != 0 ? errno : 0;
}

int replace_process(const char *file, char *const argv[], char *const envp[], int fd) {
  // What Node ignores or handles must not be ignored by the program: SIGPIPE first of all.
  sigset_t none;
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
  int error = pass_on(fd);
  if (error != 0) return error;
  // Node marks even these at its start; one that is closed stays closed.
  for (int standard = 0; standard <= 2; standard++) pass_on(standard);
  environ = (char **)envp;
  execvp(file, argv);
  return errno;
}

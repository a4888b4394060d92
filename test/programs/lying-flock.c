// Preloaded, it makes of the system's locks what odd file systems make of them: LIE=success says yes and does nothing,
// LIE=ENOLCK has no locks at all.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int lie(void) {
  if (strcmp(getenv("LIE"), "success") == 0) return 0;
  errno = ENOLCK;
  return -1;
}

int flock(int fd, int operation) {
  (void)fd, (void)operation;
  return lie();
}

static int control(const char *name, int fd, int command, void *argument) {
  if (command == F_OFD_SETLK || command == F_OFD_SETLKW) return lie();
  int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
  return real(fd, command, argument);
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return control("fcntl", fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return control("fcntl64", fd, command, argument);
}

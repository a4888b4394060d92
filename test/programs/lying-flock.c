// Preloaded, it makes of the system's calls what odd file systems and systems at their limits make of them. LIE is
// looked at with each call, so that a program may set it when it likes:
//   success      flock and byte-range locks say yes and do nothing
//   ENOLCK       there are no locks at all
//   ofd          byte-range locks are refused with EINVAL, as by the filter of a sandbox
//   nfs          flock wants the file open for writing
//   threads      no thread can be created
//   kill         no signal can be sent to a thread
//   nlink        files have no link count, as in many FUSE programs
// Compiled with TLS_BYTES it has so many thread-local bytes, which glibc takes from the stack of each thread.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#ifdef TLS_BYTES
__thread char thread_local_bytes[TLS_BYTES] __attribute__((tls_model("initial-exec")));
#endif

static int lies(const char *what) {
  const char *lie = getenv("LIE");
  return lie != NULL && strcmp(lie, what) == 0;
}

static int refuse(int error) {
  errno = error;
  return -1;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

int flock(int fd, int operation) {
  if (lies("success")) return 0;
  if (lies("ENOLCK")) return refuse(ENOLCK);
  int (*control)(int, int, ...) = (int (*)(int, int, ...))next("fcntl");
  if (lies("nfs") && (operation & LOCK_EX) && (control(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) return refuse(EBADF);
  return ((int (*)(int, int))next("flock"))(fd, operation);
}

static int control(const char *name, int fd, int command, void *argument) {
  if (command == F_OFD_SETLK || command == F_OFD_SETLKW) {
    if (lies("success")) return 0;
    if (lies("ENOLCK")) return refuse(ENOLCK);
    if (lies("ofd")) return refuse(EINVAL);
  }
  if (command == F_OFD_GETLK && lies("ofd")) return refuse(EINVAL);
  return ((int (*)(int, int, ...))next(name))(fd, command, argument);
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

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  if (lies("threads")) return EAGAIN;
  typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  return ((create *)next("pthread_create"))(thread, attributes, start, argument);
}

int fstat(int fd, struct stat *stat) {
  int result = ((int (*)(int, struct stat *))next("fstat"))(fd, stat);
  if (result == 0 && S_ISREG(stat->st_mode) && lies("nlink")) stat->st_nlink = 0;
  return result;
}

int fstat64(int fd, struct stat64 *stat) {
  int result = ((int (*)(int, struct stat64 *))next("fstat64"))(fd, stat);
  if (result == 0 && S_ISREG(stat->st_mode) && lies("nlink")) stat->st_nlink = 0;
  return result;
}

int pthread_kill(pthread_t thread, int number) {
  if (lies("kill") && number > 34) return EAGAIN;
  return ((int (*)(pthread_t, int))next("pthread_kill"))(thread, number);
}

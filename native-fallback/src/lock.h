// The lock system calls, and the question whether an open file is still the one at its path.
#ifndef FAIRLOCK_LOCK_H
#define FAIRLOCK_LOCK_H

#ifdef _WIN32
#include "windows_lock.h"
#else
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// Open-file-description locks. The headers of macOS keep their numbers to themselves, which are the same in all its
// versions; whether there are such locks, the running system is asked (lock_has_ofd).
#ifndef F_OFD_SETLK
#ifdef __APPLE__
#define F_OFD_SETLK 90
#define F_OFD_SETLKW 91
#define F_OFD_GETLK 92
#else
#define F_OFD_SETLK -1
#define F_OFD_SETLKW -1
#define F_OFD_GETLK -1
#endif
#endif

typedef int lock_fd;

// What is locked: a whole open file with flock(2), or a byte range of it with an open-file-description lock.
typedef struct {
  lock_fd fd;
  bool ofd;
  off_t start, length;  // length 0: to the end, wherever that is
} lock_target;

// flock(2) has no question "is it locked?": the lock has to be tried. This byte, locked shared meanwhile, tells
// processes whose own try fails that they met such a question, and not a holder.
#define PROBE_BYTE (((off_t)1 << 52) + 1)

// What is at a path, to tell an open file from another one that has taken its place.
typedef struct {
  const char *path;
  bool follow;
  dev_t dev;
  ino_t ino;
} lock_identity;

static inline struct flock byte_range(short type, off_t start, off_t length) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static inline lock_fd lock_fd_of(int descriptor) { return descriptor; }

// A system without them says EINVAL to the question whether a byte is locked.
static inline bool lock_has_ofd(void) {
  struct flock range = byte_range(F_WRLCK, 0, 1);
  int fd = open("/", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return F_OFD_GETLK > 0;
  bool has = fcntl(fd, F_OFD_GETLK, &range) == 0 || errno != EINVAL;
  close(fd);
  return has;
}

// All return 0 or errno. A contended try is EAGAIN.
static inline int lock_call(const lock_target *target, short type, bool wait) {
  if (target->ofd) {
    struct flock range = byte_range(type, target->start, target->length);
    if (fcntl(target->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range) == 0) return 0;
    return errno == EACCES ? EAGAIN : errno;
  }
  int operation = type == F_UNLCK ? LOCK_UN : type == F_RDLCK ? LOCK_SH : LOCK_EX;
  return flock(target->fd, wait ? operation : operation | LOCK_NB) == 0 ? 0 : errno;
}

static inline int lock_try(const lock_target *target, bool shared) {
  return lock_call(target, shared ? F_RDLCK : F_WRLCK, false);
}

static inline int lock_block(const lock_target *target, bool shared) {
  return lock_call(target, shared ? F_RDLCK : F_WRLCK, true);
}

static inline int lock_undo(const lock_target *target) { return lock_call(target, F_UNLCK, false); }

// A lock in [from, to] (to < 0: to the end) that conflicts with `type`, held by another open file: its first byte
// there; -1 if there is none. `after`, if not NULL: the first byte behind it, -1 if it goes to the end.
static inline off_t range_conflict(lock_fd fd, short type, off_t from, off_t to, off_t *after, int *error) {
  struct flock range = byte_range(type, from, to < 0 ? 0 : to - from + 1);
  *error = fcntl(fd, F_OFD_GETLK, &range) == 0 ? 0 : errno;
  if (*error != 0 || range.l_type == F_UNLCK) return -1;
  if (after != NULL) *after = range.l_len == 0 ? -1 : range.l_start + range.l_len;
  return range.l_start < from ? from : range.l_start;
}

// The first byte of a range that another open file has locked, shared or not; -1: none.
static inline off_t lock_conflict(const lock_target *target, int *error) {
  off_t end = target->length == 0 ? -1 : target->start + target->length - 1;
  return range_conflict(target->fd, F_WRLCK, target->start, end, NULL, error);
}

// EAGAIN: another open file has locked any of it. Not for one that is locked through this descriptor. flock(2) has no
// such question: the lock is taken and given back, first shared, then (which tells of other shared ones) exclusively, in
// some microseconds. See lock_is_probed.
static inline int lock_is_held(const lock_target *target, bool has_ofd) {
  int error;
  if (target->ofd) {
    off_t found = lock_conflict(target, &error);
    return error != 0 ? error : found < 0 ? 0 : EAGAIN;
  }
  lock_target probe = {.fd = target->fd, .ofd = true, .start = PROBE_BYTE, .length = 1};
  if (has_ofd) lock_try(&probe, true);
  error = lock_try(target, true);
  if (error == 0) {
    error = lock_try(target, false);
    lock_undo(target);
  }
  if (has_ofd) lock_undo(&probe);
  return error;
}

// Whether another process is asking lock_is_held at this moment, and may be why a try failed. A lock of more than that
// byte is a holder's. Below 0: nothing tells.
static inline int lock_is_probed(const lock_target *target, bool has_ofd) {
  if (!has_ofd) return false;
  int error = 0;
  off_t after = 0;
  off_t found = range_conflict(target->fd, F_WRLCK, PROBE_BYTE, PROBE_BYTE, &after, &error);
  return found >= 0 && after == PROBE_BYTE + 1;
}

// 0 or an errno.
static inline int lock_identify(lock_identity *identity, lock_fd fd) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) return errno;
  identity->dev = stat.st_dev;
  identity->ino = stat.st_ino;
  return 0;
}

// 0: the open file is the one at the path. ESTALE: another file or none is there. Else why that cannot be told.
// A mismatch is compared again with what the descriptor says now: on overlayfs the inode number of an open file changes
// when the file is copied up (a hard-linked file of the lower layer that is changed), and the lock stays where it is.
static inline int check_identity(const lock_identity *identity, lock_fd fd) {
  struct stat here, open_file;
  if (fstatat(AT_FDCWD, identity->path, &here, identity->follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT || errno == ENOTDIR ? ESTALE : errno;
  }
  if (here.st_dev == identity->dev && here.st_ino == identity->ino) return 0;
  if (fstat(fd, &open_file) != 0) return errno;
  return here.st_dev == open_file.st_dev && here.st_ino == open_file.st_ino ? 0 : ESTALE;
}
#endif

#endif

// lock.h on Windows: LockFileEx. What is locked there no other process can read or write, so the lock of a whole file is
// one on a byte far behind all content. The system releases a lock however its process dies. Two locks of one open file
// exclude each other too, and any other call on an open file waits for the one that blocks.
#ifndef FAIRLOCK_WINDOWS_LOCK_H
#define FAIRLOCK_WINDOWS_LOCK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <windows.h>

#ifndef ESTALE
#define ESTALE 10070  // that of Winsock; it does not leave the addon
#endif

typedef HANDLE lock_fd;

typedef struct {
  lock_fd fd;
  bool ofd;  // else a whole file
  off_t start, length;
} lock_target;

typedef struct {
  const char *path;
  bool follow;
  DWORD dev;
  uint64_t ino;
} lock_identity;

#define WHOLE_FILE ((off_t)1 << 62)

// Of Node's, of whose C library the descriptor is.
__declspec(dllimport) void *uv_get_osfhandle(int descriptor);

static inline lock_fd lock_fd_of(int descriptor) { return uv_get_osfhandle(descriptor); }

static inline bool lock_has_ofd(void) { return true; }

// See winerror.h. What tells nothing is EIO.
static inline int last_error(void) {
  switch (GetLastError()) {
    case ERROR_LOCK_VIOLATION:
    case ERROR_IO_PENDING: return EAGAIN;
    case ERROR_OPERATION_ABORTED: return EINTR;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_DELETE_PENDING: return ESTALE;
    case ERROR_ACCESS_DENIED: return EACCES;
    case ERROR_INVALID_HANDLE: return EBADF;
    case ERROR_INVALID_FUNCTION:  // a file system without locks
    case ERROR_NOT_SUPPORTED: return ENOTSUP;
    case ERROR_NOT_ENOUGH_MEMORY: return ENOMEM;
    default: return EIO;
  }
}

static inline int range_lock(lock_fd fd, DWORD flags, off_t start, off_t length) {
  OVERLAPPED at = {.Offset = (DWORD)start, .OffsetHigh = (DWORD)(start >> 32)};
  return LockFileEx(fd, flags, 0, (DWORD)length, (DWORD)(length >> 32), &at) ? 0 : last_error();
}

static inline int range_unlock(lock_fd fd, off_t start, off_t length) {
  OVERLAPPED at = {.Offset = (DWORD)start, .OffsetHigh = (DWORD)(start >> 32)};
  return UnlockFileEx(fd, 0, (DWORD)length, (DWORD)(length >> 32), &at) ? 0 : last_error();
}

static inline off_t lock_start(const lock_target *target) { return target->ofd ? target->start : WHOLE_FILE; }

static inline off_t lock_length(const lock_target *target) {
  if (!target->ofd) return 1;
  return target->length == 0 ? INT64_MAX - target->start : target->length;
}

static inline int lock_call(const lock_target *target, bool shared, DWORD flags) {
  if (!shared) flags |= LOCKFILE_EXCLUSIVE_LOCK;
  return range_lock(target->fd, flags, lock_start(target), lock_length(target));
}

static inline int lock_try(const lock_target *target, bool shared) {
  return lock_call(target, shared, LOCKFILE_FAIL_IMMEDIATELY);
}

static inline int lock_block(const lock_target *target, bool shared) { return lock_call(target, shared, 0); }

static inline int lock_undo(const lock_target *target) {
  return range_unlock(target->fd, lock_start(target), lock_length(target));
}

// There is no such question: it is tried, exclusively, which tells of shared locks too.
static inline int lock_is_held(const lock_target *target, bool has_ofd) {
  (void)has_ofd;
  int error = lock_try(target, false);
  if (error == 0) lock_undo(target);
  return error;
}

static inline int lock_is_probed(const lock_target *target, bool has_ofd) {
  (void)target, (void)has_ofd;
  return -1;
}

// Tries that are contended, it may be by other tries, which last some microseconds: a lock lasts longer than all these.
enum { LOCK_TRIES = 1000 };

static inline int lock_stays_held(const lock_target *target) {
  int error = EAGAIN;
  for (int tries = 0; error == EAGAIN && tries < LOCK_TRIES; tries++) error = lock_is_held(target, true);
  return error;
}

// Which byte it is, is asked of one after the other.
static inline off_t lock_conflict(const lock_target *target, int *error) {
  *error = lock_stays_held(target);
  for (off_t byte = target->start; *error == EAGAIN && byte < target->start + target->length; byte++) {
    lock_target one = {.fd = target->fd, .ofd = true, .start = byte, .length = 1};
    if (lock_stays_held(&one) != EAGAIN) continue;
    *error = 0;
    return byte;
  }
  if (*error == EAGAIN) *error = 0;  // released meanwhile
  return -1;
}

static inline int lock_identify(lock_identity *identity, lock_fd fd) {
  BY_HANDLE_FILE_INFORMATION found;
  if (!GetFileInformationByHandle(fd, &found)) return last_error();
  identity->dev = found.dwVolumeSerialNumber;
  identity->ino = ((uint64_t)found.nFileIndexHigh << 32) | found.nFileIndexLow;
  return 0;
}

// As Windows takes it; NULL: no memory. To be freed.
static inline wchar_t *wide_path(const char *path) {
  int length = MultiByteToWideChar(CP_UTF8, 0, path, -1, NULL, 0);
  wchar_t *wide = calloc((size_t)length + 1, sizeof *wide);
  if (wide != NULL) MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, length);
  return wide;
}

static inline int check_identity(const lock_identity *identity, lock_fd fd) {
  (void)fd;
  wchar_t *path = wide_path(identity->path);
  if (path == NULL) return ENOMEM;
  DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  DWORD flags = FILE_FLAG_BACKUP_SEMANTICS | (identity->follow ? 0 : FILE_FLAG_OPEN_REPARSE_POINT);
  HANDLE there = CreateFileW(path, FILE_READ_ATTRIBUTES, share, NULL, OPEN_EXISTING, flags, NULL);
  int error = there == INVALID_HANDLE_VALUE ? last_error() : 0;
  free(path);
  if (error != 0) return error;
  lock_identity found;
  error = lock_identify(&found, there);
  CloseHandle(there);
  if (error != 0) return error;
  return found.dev == identity->dev && found.ino == identity->ino ? 0 : ESTALE;
}

static inline int lock_remove(const lock_identity *identity) {
  wchar_t *path = wide_path(identity->path);
  if (path == NULL) return ENOMEM;
  int error = DeleteFileW(path) ? 0 : last_error();
  free(path);
  return error;
}

#endif

// Lock files and sidecars, as JavaScript sees them.
#include "napi_binding.h"

static void free_file(napi_env env, void *file, void *hint) {
  (void)env, (void)hint;
  free(file);
}

// file(fd, path, follow, ofd, start, length): the descriptor stays the caller's. Or a negative errno.
static napi_value make_file(napi_env env, napi_callback_info info) {
  ARGUMENTS(6);
  size_t length = 0;
  if (napi_get_value_string_utf8(env, arguments[1], NULL, 0, &length) != napi_ok)
    return throw_error(env, "path: not a string");
  lock_file *file = calloc(1, sizeof *file + length + 1);
  if (file == NULL) return throw_error(env, "out of memory");
  napi_get_value_string_utf8(env, arguments[1], file->path, length + 1, &length);
  file->place = NO_PLACE;
  file->target = (lock_target){.fd = lock_fd_of(to_int(env, arguments[0])),
                               .ofd = to_bool(env, arguments[3]),
                               .start = (off_t)to_double(env, arguments[4]),
                               .length = (off_t)to_double(env, arguments[5])};
  file->identity = (lock_identity){.path = file->path, .follow = to_bool(env, arguments[2])};
  int error = lock_identify(&file->identity, file->target.fd);
  if (error != 0) {
    free(file);
    return number(env, -error);
  }
  napi_value result = NULL;
  if (napi_create_external(env, file, free_file, NULL, &result) == napi_ok) return result;
  free(file);
  return NULL;
}

static napi_value is_current(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  return number(env, status_of(check_identity(&file->identity, file->target.fd)));
}

// The try and the look at the path. Its status.
static int try_and_compare(lock_file *file, bool shared) {
  int locked = lock_try(&file->target, shared);
  if (locked != 0 && locked != EAGAIN) return -locked;
  int identity = check_identity(&file->identity, file->target.fd);
  return status_of(identity != 0 ? identity : locked);
}

// tryLock(file, shared)
static napi_value try_lock(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  POINTER(lock_file, file, 0);
  return number(env, try_and_compare(file, to_bool(env, arguments[1])));
}

static napi_value unlock(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  return number(env, -lock_undo(&file->target));
}

// --- the ticket queue, on a sidecar file (ticket.h)
// --------------------------------------------------------------------

// tryIfQueueEmpty(file, probe, shared): like tryLock, but contended where there is a ticket; `probe` is any open
// sidecar. REMOVED: that sidecar is not in use any more. The look comes first: a request that takes a ticket after it
// has asked later than this one; and to give the lock back would wake the first of the queue for nothing.
static napi_value try_if_queue_empty(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  POINTER(lock_file, file, 0);
  POINTER(lock_file, probe, 1);
  int queue = ticket_queue_empty(probe->target.fd, &probe->identity);
  if (queue != 0) return number(env, queue == ESTALE ? REMOVED : status_of(queue));
  return number(env, try_and_compare(file, to_bool(env, arguments[2])));
}

// tryIfFirst(file, sidecar, shared): like tryLock, with a ticket; contended where there is an earlier one.
static napi_value try_if_first(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  POINTER(lock_file, file, 0);
  POINTER(lock_file, sidecar, 1);
  off_t earlier;
  int first = ticket_is_first(sidecar->target.fd, &sidecar->place, &earlier);
  if (first != 0) return number(env, status_of(first));
  int status = try_and_compare(file, to_bool(env, arguments[2]));
  if (status == GRANTED) ticket_drop(sidecar->target.fd, &sidecar->place);
  return number(env, status);
}

// isFirst(sidecar): GRANTED: there is no earlier ticket or, without a ticket of its own, none. Else CONTENDED or
// REMOVED.
static napi_value is_first(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, sidecar, 0);
  off_t earlier;
  if (sidecar->place.ticket != NO_TICKET)
    return number(env, status_of(ticket_is_first(sidecar->target.fd, &sidecar->place, &earlier)));
  int empty = ticket_queue_empty(sidecar->target.fd, &sidecar->identity);
  return number(env, empty == ESTALE ? REMOVED : status_of(empty));
}

// conflict(file): the first of its bytes that another open file has locked, shared or not; undefined: none. Or a
// negative errno.
static napi_value conflict(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  int error;
  off_t found = lock_conflict(&file->target, &error);
  if (error == 0 && found < 0) return NULL;
  napi_value result = NULL;
  napi_create_double(env, error != 0 ? -error : (double)found, &result);
  return result;
}

// isLocked(file): CONTENDED: another open file has locked any of it; else GRANTED.
static napi_value is_locked(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  return number(env, status_of(lock_is_held(&file->target, self->has_ofd)));
}

// isProbed(file): whether another process is asking isLocked at this moment; undefined: nothing tells.
static napi_value is_probed(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  int probed = lock_is_probed(&file->target, self->has_ofd);
  return probed < 0 ? NULL : boolean(env, probed);
}

// takeTicket(sidecar, shared): GRANTED, or FIRST where no other process has one; CONTENDED: another process is taking
// one; REPLACED: not the sidecar any more.
static napi_value take_ticket(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  POINTER(lock_file, sidecar, 0);
  int error = ticket_take(sidecar->target.fd, &sidecar->identity, to_bool(env, arguments[1]), false, &sidecar->place);
  return number(env, error == 0 && sidecar->place.first ? FIRST : status_of(error));
}

// dropTicket(sidecar): if there is one.
static napi_value drop_ticket_of(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, sidecar, 0);
  if (sidecar->place.ticket == NO_TICKET || (sidecar->is_waiting && TICKET_IS_ITS_WAITS)) return NULL;
  ticket_drop(sidecar->target.fd, &sidecar->place);
  return NULL;
}

// removeSidecar(sidecar): only for the holder of the main lock. GRANTED: it is gone.
static napi_value remove_sidecar(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, sidecar, 0);
  return number(env, status_of(ticket_remove_sidecar(sidecar->target.fd, &sidecar->identity)));
}

const binding_function file_functions[] = {
    {"file", make_file},
    {"isCurrent", is_current},
    {"tryLock", try_lock},
    {"unlock", unlock},
    {"tryIfQueueEmpty", try_if_queue_empty},
    {"tryIfFirst", try_if_first},
    {"isFirst", is_first},
    {"conflict", conflict},
    {"isLocked", is_locked},
    {"isProbed", is_probed},
    {"takeTicket", take_ticket},
    {"dropTicket", drop_ticket_of},
    {"removeSidecar", remove_sidecar},
    {NULL, NULL},
};

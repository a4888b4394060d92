// Node-API glue: JavaScript values in, calls of lock.h, ticket.h and lock_wait.h, plain numbers out. Statuses: see
// src/native/addon.ts. What its files share.
#ifndef FAIRLOCK_BINDING_H
#define FAIRLOCK_BINDING_H

#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "thread_registry.h"
#include "lock_wait.h"

enum { GRANTED = 0, CONTENDED = 1, REPLACED = 2, REMOVED = 3, FIRST = 4 };  // errors are -errno
enum { FOR_LOCK = 0, FOR_TICKET = 1, JOINED = 2 };  // kinds of waits

// A wait, as JavaScript knows it: by its number, which is its place in the table, counted from 1.
typedef struct {
  worker *one;  // NULL: a free place
  int client;
  struct lock_file *sidecar;  // JavaScript keeps it as long as the wait lasts
  bool keeps_alive;
} wait_slot;

// One per JavaScript environment (main thread, Worker).
typedef struct {
  napi_env env;
  bool has_ofd;  // open-file-description locks
  worker_group *group;
  napi_threadsafe_function wake;
  napi_ref *clients;  // what each copy of the library is called back by
  int client_count;
  wait_slot *slots;
  int slot_count, first_free;
  int waiting;  // waits that keep the event loop alive
  registry published;
  int *closed_at_end;  // descriptors that nothing else closes when the environment ends
  int closed_at_end_count;
} environment;

// An open lock file, as JavaScript holds it.
typedef struct lock_file {
  lock_target target;
  lock_identity identity;
  ticket_place place;  // of a sidecar
  bool is_waiting;     // for its turn
  char path[];
} lock_file;

#define ARGUMENTS(count)                                                \
  napi_value arguments[count];                                          \
  size_t given = count;                                                 \
  environment *self;                                                    \
  napi_get_cb_info(env, info, &given, arguments, NULL, (void **)&self); \
  (void)self;                                                           \
  if (given < count) return throw_error(env, "too few arguments")

static inline napi_value throw_error(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NULL;
}

// Results begin as NULL (undefined): while a Worker is being terminated, calls that would run JavaScript fail.
static inline napi_value number(napi_env env, int value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

static inline napi_value boolean(napi_env env, bool value) {
  napi_value result = NULL;
  napi_get_boolean(env, value, &result);
  return result;
}

static inline int to_int(napi_env env, napi_value value) {
  int32_t result = 0;
  napi_get_value_int32(env, value, &result);
  return result;
}

static inline bool to_bool(napi_env env, napi_value value) {
  bool result = false;
  napi_get_value_bool(env, value, &result);
  return result;
}

static inline double to_double(napi_env env, napi_value value) {
  double result = 0;
  napi_get_value_double(env, value, &result);
  return result;
}

static inline void *to_pointer(napi_env env, napi_value value) {
  void *result = NULL;
  napi_get_value_external(env, value, &result);
  return result;
}

// The object behind an argument; a call with anything else is undefined.
#define POINTER(type, name, index)                \
  type *name = to_pointer(env, arguments[index]); \
  if (name == NULL) return NULL

static inline int status_of(int error) {
  return error == 0 ? GRANTED : error == EAGAIN ? CONTENDED : error == ESTALE ? REPLACED : -error;
}

// What JavaScript calls; the last one has no name.
typedef struct {
  const char *name;
  napi_callback call;
} binding_function;

extern const binding_function file_functions[];     // napi_files.c: lock files and sidecars
extern const binding_function wait_functions[];     // napi_waits.c
extern const binding_function process_functions[];  // napi_process.c

// The waits of an environment: at its beginning and at its end. False: there can be none, and the environment is still
// the caller's; else it is freed when the last of them is gone.
bool waits_open(environment *self);
void waits_close(environment *self);

// What else an environment begins and ends with: see napi_process.c.
void process_open(environment *self, napi_value exports);
void process_close(environment *self);

#endif

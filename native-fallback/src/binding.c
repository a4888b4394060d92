// Node-API glue: JavaScript values in, calls of lock.h and waiter.h, plain numbers out. Statuses: see native-fallback.ts.
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bulletin.h"
#include "exec.h"
#include "waiter.h"

enum { GRANTED = 0, CONTENDED = 1, REPLACED = 2, REMOVED = 3 };  // errors are -errno

// A wait, as JavaScript knows it: by its number, which is its place in the table, counted from 1.
typedef struct {
  waiter *one;  // NULL: a free place
  struct lock_file *line;  // JavaScript keeps it as long as the wait lasts
  bool keeps_alive;
} wait_slot;

// One per JavaScript environment (main thread, Worker).
typedef struct {
  napi_env env;
  waiter_group *group;
  napi_threadsafe_function wake;
  napi_ref on_finished;
  wait_slot *slots;
  int slot_count, first_free;
  int waiting;  // waits that keep the event loop alive
  bulletin bulletin;
} environment;

// An open lock file, as JavaScript holds it.
typedef struct lock_file {
  lock_target target;
  lock_identity identity;
  int64_t ticket;  // of a sidecar
  bool crowded;    // the last look found somebody in line
  char path[];
} lock_file;

#define ARGUMENTS(count)                                                      \
  napi_value arguments[count];                                                \
  size_t given = count;                                                       \
  environment *self;                                                          \
  napi_get_cb_info(env, info, &given, arguments, NULL, (void **)&self);       \
  (void)self;                                                                 \
  if (given < count) return throw_error(env, "too few arguments")

static napi_value throw_error(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NULL;
}

// Results begin as NULL (undefined): while a Worker is being terminated, calls that would run JavaScript fail.
static napi_value number(napi_env env, int value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

static napi_value boolean(napi_env env, bool value) {
  napi_value result = NULL;
  napi_get_boolean(env, value, &result);
  return result;
}

static int to_int(napi_env env, napi_value value) {
  int32_t result = 0;
  napi_get_value_int32(env, value, &result);
  return result;
}

static bool to_bool(napi_env env, napi_value value) {
  bool result = false;
  napi_get_value_bool(env, value, &result);
  return result;
}

static double to_double(napi_env env, napi_value value) {
  double result = 0;
  napi_get_value_double(env, value, &result);
  return result;
}

static void *to_pointer(napi_env env, napi_value value) {
  void *result = NULL;
  napi_get_value_external(env, value, &result);
  return result;
}

// The object behind an argument; a call with anything else is undefined.
#define POINTER(type, name, index)                        \
  type *name = to_pointer(env, arguments[index]);         \
  if (name == NULL) return NULL

static int status_of(int error) {
  return error == 0 ? GRANTED : error == EAGAIN ? CONTENDED : error == ESTALE ? REPLACED : -error;
}

// --- lock files ----------------------------------------------------------------------------------------------------

static void free_file(napi_env env, void *file, void *hint) {
  (void)env, (void)hint;
  free(file);
}

// file(fd, path, follow, ofd, start, length): the descriptor stays the caller's.
static napi_value make_file(napi_env env, napi_callback_info info) {
  ARGUMENTS(6);
  size_t length = 0;
  if (napi_get_value_string_utf8(env, arguments[1], NULL, 0, &length) != napi_ok) return throw_error(env, "path: not a string");
  lock_file *file = calloc(1, sizeof *file + length + 1);
  if (file == NULL) return throw_error(env, "out of memory");
  napi_get_value_string_utf8(env, arguments[1], file->path, length + 1, &length);
  file->ticket = NO_TICKET;
  file->target = (lock_target){.fd = to_int(env, arguments[0]),
                               .ofd = to_bool(env, arguments[3]),
                               .start = (off_t)to_double(env, arguments[4]),
                               .length = (off_t)to_double(env, arguments[5])};
  struct stat stat;
  if (fstat(file->target.fd, &stat) != 0) {
    free(file);
    return throw_error(env, strerror(errno));
  }
  file->identity =
      (lock_identity){.path = file->path, .follow = to_bool(env, arguments[2]), .dev = stat.st_dev, .ino = stat.st_ino};
  napi_value result = NULL;
  if (napi_create_external(env, file, free_file, NULL, &result) == napi_ok) return result;
  free(file);
  return NULL;
}

static napi_value is_current(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  return number(env, status_of(check_identity(&file->identity)));
}

// tryLock(file, shared): the try and the look at the path in one call.
static napi_value try_lock(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  POINTER(lock_file, file, 0);
  int locked = lock_try(&file->target, to_bool(env, arguments[1]));
  if (locked != 0 && locked != EAGAIN) return number(env, -locked);
  int identity = check_identity(&file->identity);
  return number(env, status_of(identity != 0 ? identity : locked));
}

static napi_value unlock(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  return number(env, -lock_undo(&file->target));
}

// --- the line of those who wait, on a sidecar file (ticket.h) --------------------------------------------------------

// tryFirst(file, probe, shared): like tryLock, but contended where anybody stands in line; `probe` is any open sidecar.
// REMOVED: that sidecar is not in use any more, and the lock was let go.
static napi_value try_first(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  POINTER(lock_file, file, 0);
  POINTER(lock_file, probe, 1);
  // Where there was a line the last time, look first: taking the lock for a moment would only wake who is at its head.
  if (probe->crowded && ticket_queue_empty(probe->target.fd) == EAGAIN) return number(env, CONTENDED);
  int locked = lock_try(&file->target, to_bool(env, arguments[2]));
  if (locked != 0 && locked != EAGAIN) return number(env, -locked);
  int identity = check_identity(&file->identity);
  if (identity != 0 || locked != 0) return number(env, status_of(identity != 0 ? identity : locked));
  int queue = ticket_queue_empty(probe->target.fd);
  probe->crowded = queue == EAGAIN;
  if (queue != 0) lock_undo(&file->target);
  return number(env, queue == ESTALE ? REMOVED : status_of(queue));
}

// tryTurn(file, line, shared): like tryLock, for who has a ticket; contended where anybody has an earlier one.
static napi_value try_turn(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  POINTER(lock_file, file, 0);
  POINTER(lock_file, line, 1);
  off_t earlier;
  int first = ticket_is_first(line->target.fd, line->ticket, &earlier);
  if (first != 0) return number(env, status_of(first));
  int locked = lock_try(&file->target, to_bool(env, arguments[2]));
  if (locked != 0 && locked != EAGAIN) return number(env, -locked);
  int identity = check_identity(&file->identity);
  if (locked == 0 && identity == 0) {
    ticket_drop(line->target.fd);
    line->ticket = NO_TICKET;
  }
  return number(env, status_of(identity != 0 ? identity : locked));
}

// isFirst(line): GRANTED: nobody has an earlier ticket, or without one: nobody has a ticket. Else CONTENDED or REMOVED.
static napi_value is_first(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, line, 0);
  off_t earlier;
  if (line->ticket != NO_TICKET) return number(env, status_of(ticket_is_first(line->target.fd, line->ticket, &earlier)));
  int empty = ticket_queue_empty(line->target.fd);
  return number(env, empty == ESTALE ? REMOVED : status_of(empty));
}

// isTaken(file): GRANTED: nobody else has locked any of its bytes, shared or not. Else CONTENDED.
static napi_value is_taken(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, file, 0);
  int error;
  off_t end = file->target.start + file->target.length - 1;
  off_t found = ticket_taken(file->target.fd, F_WRLCK, file->target.start, end, &error);
  return number(env, error != 0 ? -error : found < 0 ? GRANTED : CONTENDED);
}

// draw(line): GRANTED: it has a ticket; CONTENDED: somebody else is drawing; REPLACED: not the sidecar any more.
static napi_value draw(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, line, 0);
  return number(env, status_of(ticket_draw(line->target.fd, &line->identity, false, &line->ticket)));
}

// drop(line): gives up the ticket, if there is one.
static napi_value drop(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, line, 0);
  if (line->ticket != NO_TICKET) ticket_drop(line->target.fd);
  line->ticket = NO_TICKET;
  return NULL;
}

// removeSidecar(line): only by the holder of the main lock. GRANTED: it is gone.
static napi_value remove_sidecar(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  POINTER(lock_file, line, 0);
  return number(env, status_of(ticket_remove_sidecar(line->target.fd, &line->identity)));
}

// --- waits ---------------------------------------------------------------------------------------------------------

// The event loop lives as long as somebody waits.
static void keep_alive(environment *self, wait_slot *slot, bool keep) {
  if (slot->keeps_alive == keep) return;
  slot->keeps_alive = keep;
  self->waiting += keep ? 1 : -1;
  if (keep && self->waiting == 1) napi_ref_threadsafe_function(self->env, self->wake);
  if (!keep && self->waiting == 0) napi_unref_threadsafe_function(self->env, self->wake);
}

// The number of a free place, 0 if there is no memory.
static int take_slot(environment *self) {
  for (int i = self->first_free; i < self->slot_count; i++) {
    if (self->slots[i].one != NULL) continue;
    self->first_free = i;
    return i + 1;
  }
  int first = self->slot_count + 1, count = self->slot_count == 0 ? 16 : self->slot_count * 2;
  wait_slot *slots = realloc(self->slots, (size_t)count * sizeof *slots);
  if (slots == NULL) return 0;
  memset(slots + self->slot_count, 0, (size_t)(count - self->slot_count) * sizeof *slots);
  self->slots = slots;
  self->slot_count = count;
  self->first_free = first - 1;
  return first;
}

static wait_slot *slot_at(environment *self, int number) {
  bool there = number >= 1 && number <= self->slot_count && self->slots[number - 1].one != NULL;
  return there ? &self->slots[number - 1] : NULL;
}

static void free_slot(environment *self, wait_slot *slot) {
  keep_alive(self, slot, false);
  waiter_set_data(slot->one, NULL);
  waiter_release(slot->one);
  *slot = (wait_slot){0};
  if (slot - self->slots < self->first_free) self->first_free = (int)(slot - self->slots);
}

// On a waiter's thread.
static void on_finished(void *data) { napi_call_threadsafe_function(((environment *)data)->wake, NULL, napi_tsfn_nonblocking); }

// On the JavaScript thread: tells of everybody who is done.
static void deliver(napi_env env, napi_value unused, void *context, void *data) {
  (void)unused, (void)data;
  environment *self = context;
  if (env == NULL || self->group == NULL) return;
  napi_value function = NULL, global = NULL;
  napi_get_reference_value(env, self->on_finished, &function);
  napi_get_global(env, &global);
  for (waiter *one = group_take(self->group); one != NULL; one = group_take(self->group)) {
    int id = (int)(intptr_t)waiter_data(one);
    wait_slot *slot = slot_at(self, id);
    if (slot != NULL) {  // else it was cancelled after it had finished
      napi_handle_scope scope;
      napi_open_handle_scope(env, &scope);
      if (slot->line != NULL) slot->line->ticket = waiter_ticket(one);
      napi_value results[] = {number(env, id), number(env, status_of(waiter_result(one)))};
      free_slot(self, slot);
      napi_call_function(env, global, function, 2, results, NULL);
      napi_close_handle_scope(env, scope);
    }
    waiter_release(one);
  }
}

// onFinished(callback): what is called with the number and the status of each wait that is over.
static napi_value set_on_finished(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  napi_create_reference(env, arguments[0], 1, &self->on_finished);
  return NULL;
}

static bool is_object(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type != napi_undefined && type != napi_null;
}

static napi_value start(napi_env env, environment *self, napi_value *arguments, bool draw_only, bool listed) {
  if (self->group == NULL) return throw_error(env, "the environment is ending");
  lock_file *lock = is_object(env, arguments[0]) ? to_pointer(env, arguments[0]) : NULL;
  lock_file *line = is_object(env, arguments[1]) ? to_pointer(env, arguments[1]) : NULL;
  int id = take_slot(self);
  if (id == 0) return number(env, -ENOMEM);
  wait_order order = {.shared = to_bool(env, arguments[2]), .draw_only = draw_only, .listed = listed, .ticket = NO_TICKET};
  if (lock != NULL) {
    order.lock = &lock->identity;
    order.target = lock->target;
  }
  if (line != NULL) {
    order.line = &line->identity;
    order.line_fd = line->target.fd;
    order.ticket = line->ticket;
  }
  wait_slot *slot = &self->slots[id - 1];
  int error = waiter_start(self->group, &order, (void *)(intptr_t)id, &slot->one);
  if (error != 0) return number(env, -error);
  slot->line = line;
  if (listed) keep_alive(self, slot, true);
  return number(env, id);
}

// wait(file | undefined, line | undefined, shared): the number of a wait, or a negative errno. For its turn in the line,
// then for the file.
static napi_value wait_async(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  return start(env, self, arguments, false, true);
}

// waitToDraw(line): draws a ticket as soon as nobody else is drawing.
static napi_value wait_to_draw(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  napi_value no_file = NULL;
  napi_get_undefined(env, &no_file);
  return start(env, self, (napi_value[]){no_file, arguments[0], no_file}, true, true);
}

// waitSync(file, line | undefined, shared): a wait to be asked with join().
static napi_value wait_sync(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  return start(env, self, arguments, false, false);
}

// join(wait, ms): its status, and its number is free; or undefined if it still waits after `ms`.
static napi_value join(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  wait_slot *slot = slot_at(self, to_int(env, arguments[0]));
  if (slot == NULL || !waiter_join(slot->one, to_double(env, arguments[1]))) return NULL;
  int status = status_of(waiter_result(slot->one));
  free_slot(self, slot);
  return number(env, status);
}

// cancel(wait): nothing is told of it any more, and its number is free. False: it cannot be interrupted and goes on, but
// keeps no process alive.
static napi_value cancel(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  wait_slot *slot = slot_at(self, to_int(env, arguments[0]));
  if (slot == NULL) return boolean(env, true);
  bool cancelled = waiter_cancel(slot->one);
  if (cancelled) free_slot(self, slot);
  else keep_alive(self, slot, false);
  return boolean(env, cancelled);
}

// adopt(wait): somebody waits for it again.
static napi_value adopt(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  wait_slot *slot = slot_at(self, to_int(env, arguments[0]));
  if (slot != NULL) keep_alive(self, slot, true);
  return NULL;
}

// --- the process ---------------------------------------------------------------------------------------------------

static char *to_string(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *text = malloc(length + 1);
  if (text != NULL) napi_get_value_string_utf8(env, value, text, length + 1, &length);
  return text;
}

static void free_strings(char **texts) {
  for (char **one = texts; one != NULL && *one != NULL; one++) free(*one);
  free(texts);
}

// Ended by NULL; NULL where it is no list of strings.
static char **to_strings(napi_env env, napi_value list) {
  uint32_t length = 0;
  if (napi_get_array_length(env, list, &length) != napi_ok) return NULL;
  char **texts = calloc((size_t)length + 1, sizeof *texts);
  for (uint32_t i = 0; texts != NULL && i < length; i++) {
    napi_value one = NULL;
    napi_get_element(env, list, i, &one);
    texts[i] = to_string(env, one);
    if (texts[i] != NULL) continue;
    free_strings(texts);
    return NULL;
  }
  return texts;
}

// exec(file, argv, envp, fd): becomes another program, which inherits the descriptor; returns an errno if that fails.
static napi_value exec(napi_env env, napi_callback_info info) {
  ARGUMENTS(4);
  char *file = to_string(env, arguments[0]), **argv = to_strings(env, arguments[1]), **envp = to_strings(env, arguments[2]);
  int error = EINVAL;
  if (file != NULL && argv != NULL && envp != NULL) error = replace_process(file, argv, envp, to_int(env, arguments[3]));
  free(file);
  free_strings(argv);
  // The environment is now this process's own, and stays.
  return number(env, -error);
}

// post(text): puts it up for the other threads of this process; its place, or a negative errno.
static napi_value post(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char *text = to_string(env, arguments[0]);
  int place = text == NULL ? -1 : bulletin_post(&self->bulletin, text);
  return number(env, place < 0 ? -ENOMEM : place);
}

// remove(place): takes it down.
static napi_value remove_post(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  bulletin_remove(&self->bulletin, to_int(env, arguments[0]));
  return NULL;
}

typedef struct {
  napi_env env;
  napi_value list;
  uint32_t length;
} text_list;

static void add_text(void *data, const char *text) {
  text_list *texts = data;
  napi_value one = NULL;
  if (napi_create_string_utf8(texts->env, text, NAPI_AUTO_LENGTH, &one) != napi_ok) return;
  napi_set_element(texts->env, texts->list, texts->length++, one);
}

// posts(): what the other threads have put up.
static napi_value posts(napi_env env, napi_callback_info info) {
  environment *self = NULL;
  napi_get_cb_info(env, info, NULL, NULL, NULL, (void **)&self);
  text_list texts = {.env = env};
  napi_create_array(env, &texts.list);
  bulletin_read(&self->bulletin, add_text, &texts);
  return texts.list;
}

static napi_value threads(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, waiter_threads());
}

// --- the environment -----------------------------------------------------------------------------------------------

static void on_environment_end(void *data) {
  environment *self = data;
  bulletin_close(&self->bulletin);
  group_destroy(self->group);
  self->group = NULL;
  for (int i = 0; i < self->slot_count; i++)
    if (self->slots[i].one != NULL) waiter_release(self->slots[i].one);
  free(self->slots);
  self->slots = NULL;
  self->slot_count = 0;
}

static void free_environment(napi_env env, void *data, void *context) {
  (void)env, (void)context;
  free(data);
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback call;
  } functions[] = {
      {"file", make_file}, {"isCurrent", is_current}, {"tryLock", try_lock}, {"unlock", unlock},   {"wait", wait_async},
      {"waitSync", wait_sync}, {"join", join},        {"cancel", cancel},    {"adopt", adopt},
      {"threads", threads},    {"tryFirst", try_first},   {"tryTurn", try_turn}, {"draw", draw},       {"drop", drop},
      {"removeSidecar", remove_sidecar}, {"isFirst", is_first}, {"isTaken", is_taken}, {"waitToDraw", wait_to_draw},
      {"onFinished", set_on_finished},    {"exec", exec},
      {"post", post},          {"removePost", remove_post}, {"posts", posts},
  };
  environment *self = calloc(1, sizeof *self);
  if (self == NULL) return throw_error(env, "out of memory");
  self->env = env;
  napi_value name;
  napi_create_string_utf8(env, "fairlock", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, self, free_environment, self, deliver, &self->wake) != napi_ok) {
    free(self);
    return throw_error(env, "no thread-safe function");
  }
  napi_unref_threadsafe_function(env, self->wake);
  self->group = group_create(on_finished, self);
  bulletin_open(&self->bulletin);
  // Runs before the thread-safe function ends (last added, first run), so no thread calls a dead one.
  napi_add_env_cleanup_hook(env, on_environment_end, self);

  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, self, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  napi_value has_ofd = boolean(env, HAS_OFD);
  napi_set_named_property(env, exports, "hasOfd", has_ofd);
  return exports;
}

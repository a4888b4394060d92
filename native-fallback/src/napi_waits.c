// Waits, as JavaScript sees them.
#include "napi_binding.h"

// The event loop lives as long as there are waits.
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
  if (slot->sidecar != NULL) slot->sidecar->is_waiting = false;
  worker_release(slot->one);
  *slot = (wait_slot){0};
  if (slot - self->slots < self->first_free) self->first_free = (int)(slot - self->slots);
}

// On a worker's thread.
static void on_finished(void *data) {
  napi_call_threadsafe_function(((environment *)data)->wake, NULL, napi_tsfn_nonblocking);
}

// On the JavaScript thread: tells of all waits that have ended.
static void deliver(napi_env env, napi_value unused, void *context, void *data) {
  (void)unused, (void)data;
  environment *self = context;
  if (env == NULL || self->group == NULL) return;
  napi_value global = NULL;
  napi_get_global(env, &global);
  for (worker *one = worker_group_take(self->group); one != NULL; one = worker_group_take(self->group)) {
    int id = worker_id(one);
    wait_slot *slot = slot_at(self, id);
    if (slot != NULL && slot->one == one) {  // else it was cancelled after it had ended
      napi_handle_scope scope;
      napi_open_handle_scope(env, &scope);
      if (slot->sidecar != NULL) slot->sidecar->place = lock_wait_place(one);
      napi_value results[] = {number(env, id), number(env, status_of(worker_result(one)))};
      napi_value function = NULL, thrown = NULL;
      napi_get_reference_value(env, self->clients[slot->client], &function);
      free_slot(self, slot);
      // An exception is the process's (uncaughtException), and must not keep the other waits from being told.
      if (napi_call_function(env, global, function, 2, results, NULL) == napi_pending_exception &&
          napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
        napi_fatal_exception(env, thrown);
      napi_close_handle_scope(env, scope);
    }
    worker_release(one);
  }
}

// connect(callback): a client's number, to be given to its waits; its callback is called with the number and the status
// of each of its waits that has ended. Several copies of the library may share this environment, so none replaces
// another.
static napi_value connect_client(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  napi_ref callback;
  if (napi_create_reference(env, arguments[0], 1, &callback) != napi_ok)
    return throw_error(env, "callback: not a function");
  napi_ref *clients = realloc(self->clients, (size_t)(self->client_count + 1) * sizeof *clients);
  if (clients == NULL) return throw_error(env, "out of memory");
  self->clients = clients;
  clients[self->client_count] = callback;
  return number(env, self->client_count++);
}

static bool is_object(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type != napi_undefined && type != napi_null;
}

// wait(client, file | undefined, sidecar | undefined, shared, kind): the number of a wait, or a negative errno.
static napi_value start(napi_env env, napi_callback_info info) {
  ARGUMENTS(5);
  if (self->group == NULL) return throw_error(env, "the environment is ending");
  int client = to_int(env, arguments[0]);
  if (client < 0 || client >= self->client_count) return throw_error(env, "client: not connected");
  lock_file *lock = is_object(env, arguments[1]) ? to_pointer(env, arguments[1]) : NULL;
  lock_file *sidecar = is_object(env, arguments[2]) ? to_pointer(env, arguments[2]) : NULL;
  int id = take_slot(self);
  if (id == 0) return number(env, -ENOMEM);
  int kind = to_int(env, arguments[4]);
  lock_wait_order order = {.shared = to_bool(env, arguments[3]), .place = NO_PLACE, .id = id};
  order.ticket_only = kind == FOR_TICKET;
  order.listed = kind != JOINED;
  if (lock != NULL) {
    order.lock = &lock->identity;
    order.target = lock->target;
  }
  if (sidecar != NULL) {
    order.sidecar = &sidecar->identity;
    order.sidecar_fd = sidecar->target.fd;
    order.place = sidecar->place;
  }
  wait_slot *slot = &self->slots[id - 1];
  int error = lock_wait_start(self->group, &order, &slot->one);
  if (error != 0) return number(env, -error);
  slot->sidecar = sidecar;
  if (sidecar != NULL) sidecar->is_waiting = true;
  slot->client = client;
  if (order.listed) keep_alive(self, slot, true);
  return number(env, id);
}

// join(wait, ms): its status, and its number is free; or undefined if it still waits after `ms`.
static napi_value join(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  wait_slot *slot = slot_at(self, to_int(env, arguments[0]));
  if (slot == NULL || !worker_join(slot->one, to_double(env, arguments[1]))) return NULL;
  int status = status_of(worker_result(slot->one));
  free_slot(self, slot);
  return number(env, status);
}

// cancel(wait): its status, which is told nowhere else; it has ended, and its number is free. Undefined: it cannot be
// interrupted and goes on, but keeps no process alive; its end is told.
static napi_value cancel(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  wait_slot *slot = slot_at(self, to_int(env, arguments[0]));
  if (slot == NULL) return number(env, -ECANCELED);
  int result;
  if (!worker_cancel(slot->one, &result)) {
    keep_alive(self, slot, false);
    return NULL;
  }
  if (slot->sidecar != NULL) slot->sidecar->place = lock_wait_place(slot->one);
  free_slot(self, slot);
  return number(env, status_of(result));
}

const binding_function wait_functions[] = {
    {"wait", start},
    {"join", join},
    {"cancel", cancel},
    {"connect", connect_client},
    {NULL, NULL},
};

static void free_environment(napi_env env, void *data, void *context) {
  (void)env, (void)context;
  free(data);
}

bool waits_open(environment *self) {
  napi_env env = self->env;
  // First what the caller can still take back: the thread-safe function frees the environment when it ends.
  self->group = worker_group_create(on_finished, self);
  if (self->group == NULL) return false;
  napi_value name;
  napi_create_string_utf8(env, "fairlock", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, self, free_environment, self, deliver,
                                      &self->wake) != napi_ok) {
    worker_group_destroy(self->group);
    return false;
  }
  napi_unref_threadsafe_function(env, self->wake);
  return true;
}

void waits_close(environment *self) {
  worker_group_destroy(self->group);
  self->group = NULL;
  for (int i = 0; i < self->slot_count; i++)
    if (self->slots[i].one != NULL) worker_release(self->slots[i].one);
  free(self->slots);
  free(self->clients);  // the references go with the environment
  self->clients = NULL;
  self->slots = NULL;
  self->slot_count = 0;
}

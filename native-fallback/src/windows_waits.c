// Waits. Each is a call of LockFileEx that blocks, on a thread of its own. It is cancelled by CancelSynchronousIo, sent
// again until the thread has left, since one that is only about to call is not interrupted. Where that does not help
// (Wine), the wait goes on; what it is granted then it gives back at once.
#include "windows_addon.h"

enum { STACK_BYTES = 64 * 1024, CANCEL_MS = 100, MAX_WAITS = 4096, MAX_CLIENTS = 256 };

// A copy of the library in an environment, which is told of the ends of its waits.
typedef struct {
  bool used;
  bool gone;    // its environment ends: nothing is told any more, and its files are being closed
  int waiting;  // on its own thread: waits that keep the event loop alive
  napi_threadsafe_function tell;
} client;

typedef struct {
  bool used, ended, cancelled;
  bool told;  // its end is told; else it is fetched with join()
  bool keeps_alive;
  client *client;
  target target;
  HANDLE thread;
  DWORD error;
} lock_wait;

// For everything here; never held while a call blocks.
static SRWLOCK mutex = SRWLOCK_INIT;
static client clients[MAX_CLIENTS];
static lock_wait waits[MAX_WAITS];

static void keep_alive(napi_env env, lock_wait *self, bool keep) {
  if (self->keeps_alive == keep) return;
  self->keeps_alive = keep;
  self->client->waiting += keep ? 1 : -1;
  if (keep && self->client->waiting == 1) node.napi_ref_threadsafe_function(env, self->client->tell);
  if (!keep && self->client->waiting == 0) node.napi_unref_threadsafe_function(env, self->client->tell);
}

static void free_wait(lock_wait *self) {
  CloseHandle(self->thread);
  self->used = false;
}

// The one place where a grant meets cancel. What was cancelled takes nothing.
static void finish(lock_wait *self, DWORD error) {
  AcquireSRWLockExclusive(&mutex);
  if (self->client->gone) {
    free_wait(self);
  } else {
    if (self->cancelled && error == 0) unlock_call(&self->target);
    self->error = self->cancelled ? ERROR_OPERATION_ABORTED : error;
    self->ended = true;
    if (self->told) node.napi_call_threadsafe_function(self->client->tell, NULL, napi_tsfn_nonblocking);
  }
  ReleaseSRWLockExclusive(&mutex);
}

static DWORD WINAPI run(void *data) {
  lock_wait *self = data;
  DWORD error;
  do error = lock_call(&self->target, 0) ? 0 : GetLastError();
  while (error == ERROR_OPERATION_ABORTED && !self->cancelled);
  finish(self, error);
  return 0;
}

// False: it goes on.
static bool interrupt(lock_wait *self, int for_ms) {
  AcquireSRWLockExclusive(&mutex);
  bool ended = self->ended;
  if (!ended) self->cancelled = true;
  ReleaseSRWLockExclusive(&mutex);
  for (int ms = 0; !ended && ms <= for_ms; ms++) {
    CancelSynchronousIo(self->thread);
    ended = WaitForSingleObject(self->thread, for_ms == 0 ? 0 : 1) == WAIT_OBJECT_0;
  }
  return ended;
}

// The environment ends (that of a Worker, or the process).
static void leave(void *data) {
  client *self = data;
  bool stays = true;
  for (int ms = 0; stays && ms < CANCEL_MS; ms++) {
    stays = false;
    for (int i = 0; i < MAX_WAITS; i++)
      if (waits[i].used && waits[i].client == self) stays |= !interrupt(&waits[i], 0);
    if (stays) Sleep(1);
  }
  AcquireSRWLockExclusive(&mutex);
  self->gone = true;
  for (int i = 0; i < MAX_WAITS; i++)
    if (waits[i].used && waits[i].client == self && waits[i].ended) free_wait(&waits[i]);
  if (!stays) self->used = false;
  ReleaseSRWLockExclusive(&mutex);
}

// connect(callback): the number of a client, whose callback is called when a wait of it has ended: see ended().
static napi_value connect_client(napi_env env, napi_callback_info info) {
  napi_value callback = NULL, name = NULL;
  size_t given = 1;
  int i = 0;
  node.napi_get_cb_info(env, info, &given, &callback, NULL, NULL);
  AcquireSRWLockExclusive(&mutex);
  while (i < MAX_CLIENTS && clients[i].used) i++;
  if (i < MAX_CLIENTS) clients[i] = (client){.used = true};
  ReleaseSRWLockExclusive(&mutex);
  if (i == MAX_CLIENTS) return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  node.napi_create_string_utf8(env, "fairlock", NAPI_AUTO_LENGTH, &name);
  if (node.napi_create_threadsafe_function(env, callback, NULL, name, 0, 1, NULL, NULL, NULL, NULL, &clients[i].tell) != napi_ok) {
    clients[i].used = false;
    return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  }
  node.napi_unref_threadsafe_function(env, clients[i].tell);
  node.napi_add_env_cleanup_hook(env, leave, &clients[i]);  // after the function was made, so it is called before that is unmade
  return number(env, i);
}

static napi_value start(napi_env env, napi_callback_info info, bool told) {
  int32_t client = number_at(env, info, 4);
  int i = 0;
  if (client < 0 || client >= MAX_CLIENTS) return number(env, -ERROR_INVALID_PARAMETER);
  AcquireSRWLockExclusive(&mutex);
  while (i < MAX_WAITS && waits[i].used) i++;
  if (i < MAX_WAITS)
    waits[i] = (lock_wait){.used = true, .told = told, .client = &clients[client], .target = target_of(env, info)};
  ReleaseSRWLockExclusive(&mutex);
  if (i == MAX_WAITS) return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  // The thread needs nothing that is set after this.
  waits[i].thread = CreateThread(NULL, STACK_BYTES, run, &waits[i], STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (waits[i].thread == NULL) {
    waits[i].used = false;
    return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  }
  if (told) keep_alive(env, &waits[i], true);
  return number(env, i);
}

// wait(fd, shared, start, length, client): the number of a wait, or a negated error.
static napi_value wait_for(napi_env env, napi_callback_info info) { return start(env, info, true); }

// waitSync(fd, shared, start, length, client): a wait to be asked with join().
static napi_value wait_sync(napi_env env, napi_callback_info info) { return start(env, info, false); }

// ended(client): the number of a wait that has ended and whose status was not fetched; -1: none.
static napi_value ended(napi_env env, napi_callback_info info) {
  int32_t client = number_at(env, info, 0), found = -1;
  AcquireSRWLockExclusive(&mutex);
  for (int i = 0; i < MAX_WAITS && found < 0; i++)
    if (waits[i].used && waits[i].ended && waits[i].told && waits[i].client == &clients[client]) found = i;
  ReleaseSRWLockExclusive(&mutex);
  return number(env, found);
}

// end(wait): the status of a wait that has ended, whose number is free now.
static napi_value end(napi_env env, napi_callback_info info) {
  int32_t id = number_at(env, info, 0);
  if (id < 0 || id >= MAX_WAITS || !waits[id].used) return number(env, -ERROR_INVALID_PARAMETER);
  lock_wait *self = &waits[id];
  WaitForSingleObject(self->thread, INFINITE);  // it touches nothing of ours any more
  int32_t result = self->error == 0 ? GRANTED : -(int32_t)self->error;
  keep_alive(env, self, false);
  free_wait(self);
  return number(env, result);
}

// join(wait, ms): its status, and its number is free; or undefined if it still waits after `ms`.
static napi_value join(napi_env env, napi_callback_info info) {
  int32_t id = number_at(env, info, 0), ms = number_at(env, info, 1);
  if (id < 0 || id >= MAX_WAITS || !waits[id].used) return number(env, -ERROR_INVALID_PARAMETER);
  return WaitForSingleObject(waits[id].thread, ms < 0 ? 0 : (DWORD)ms) == WAIT_OBJECT_0 ? end(env, info) : NULL;
}

// cancel(wait): its status, and its number is free: GRANTED, if that was just before. Undefined: it goes on, but keeps
// no process alive, and takes nothing any more; its end is told.
static napi_value cancel(napi_env env, napi_callback_info info) {
  int32_t id = number_at(env, info, 0);
  if (id < 0 || id >= MAX_WAITS || !waits[id].used) return number(env, -ERROR_INVALID_PARAMETER);
  bool ended = interrupt(&waits[id], CANCEL_MS);
  AcquireSRWLockExclusive(&mutex);
  ended |= waits[id].ended;
  waits[id].told = true;
  ReleaseSRWLockExclusive(&mutex);
  if (ended) return end(env, info);
  keep_alive(env, &waits[id], false);
  return NULL;
}

void export_waits(napi_env env, napi_value exports) {
  export_function(env, exports, "connect", connect_client);
  export_function(env, exports, "wait", wait_for);
  export_function(env, exports, "waitSync", wait_sync);
  export_function(env, exports, "join", join);
  export_function(env, exports, "ended", ended);
  export_function(env, exports, "end", end);
  export_function(env, exports, "cancel", cancel);
}

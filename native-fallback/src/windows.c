// The whole addon of Windows: LockFileEx on bytes of a descriptor of Node's, which nobody else can read or write
// meanwhile; so locks of a whole file are on a byte far behind all content. The system releases the lock however the
// process dies. What it takes from Node is looked up in the running program, which need not be called node.exe.
//
// A wait is a call of LockFileEx that blocks, on a thread of its own. It is cancelled by CancelSynchronousIo, sent
// again until the thread has left, since one that is only about to call is not interrupted. Where that does not help
// (Wine), the wait goes on; what it is granted then it gives back at once.
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

enum { GRANTED = 0, CONTENDED = 1 };  // anything else: a negated error of the system
enum { STACK_BYTES = 64 * 1024, CANCEL_MS = 100, MAX_WAITS = 4096, MAX_CLIENTS = 256 };

typedef napi_status (*get_cb_info)(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
typedef napi_status (*get_value_int32)(napi_env, napi_value, int32_t *);
typedef napi_status (*get_value_bool)(napi_env, napi_value, bool *);
typedef napi_status (*get_value_double)(napi_env, napi_value, double *);
typedef napi_status (*create_int32)(napi_env, int32_t, napi_value *);
typedef napi_status (*create_function)(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
typedef napi_status (*set_named_property)(napi_env, napi_value, const char *, napi_value);
typedef napi_status (*create_tsfn)(napi_env, napi_value, napi_value, napi_value, size_t, size_t, void *, napi_finalize,
                                   void *, napi_threadsafe_function_call_js, napi_threadsafe_function *);
typedef napi_status (*call_tsfn)(napi_threadsafe_function, void *, napi_threadsafe_function_call_mode);
typedef napi_status (*keep_tsfn)(napi_env, napi_threadsafe_function);
typedef napi_status (*create_string)(napi_env, const char *, size_t, napi_value *);
typedef napi_status (*add_hook)(napi_env, void (*)(void *), void *);
typedef void *(*get_osfhandle)(int);

static struct {
  get_cb_info cb_info;
  get_value_int32 value_int32;
  get_value_bool value_bool;
  get_value_double value_double;
  create_int32 int32;
  create_function function;
  set_named_property set;
  create_tsfn create_tsfn;
  call_tsfn call_tsfn;
  keep_tsfn ref_tsfn, unref_tsfn;
  create_string string;
  add_hook add_hook;
  get_osfhandle handle;
} node;

static void *look_up(const char *name) {
  void *found = (void *)GetProcAddress(GetModuleHandleW(NULL), name);
  HMODULE library = found == NULL ? GetModuleHandleW(L"libnode.dll") : NULL;
  return library == NULL ? found : (void *)GetProcAddress(library, name);
}

static bool look_up_all(void) {
  node.cb_info = (get_cb_info)look_up("napi_get_cb_info");
  node.value_int32 = (get_value_int32)look_up("napi_get_value_int32");
  node.value_bool = (get_value_bool)look_up("napi_get_value_bool");
  node.value_double = (get_value_double)look_up("napi_get_value_double");
  node.int32 = (create_int32)look_up("napi_create_int32");
  node.function = (create_function)look_up("napi_create_function");
  node.set = (set_named_property)look_up("napi_set_named_property");
  node.create_tsfn = (create_tsfn)look_up("napi_create_threadsafe_function");
  node.call_tsfn = (call_tsfn)look_up("napi_call_threadsafe_function");
  node.ref_tsfn = (keep_tsfn)look_up("napi_ref_threadsafe_function");
  node.unref_tsfn = (keep_tsfn)look_up("napi_unref_threadsafe_function");
  node.string = (create_string)look_up("napi_create_string_utf8");
  node.add_hook = (add_hook)look_up("napi_add_env_cleanup_hook");
  node.handle = (get_osfhandle)look_up("uv_get_osfhandle");
  void **all = (void **)&node;
  for (size_t i = 0; i < sizeof node / sizeof *all; i++)
    if (all[i] == NULL) return false;
  return true;
}

enum { MAX_ARGUMENTS = 5 };

// What is locked, and how.
typedef struct {
  HANDLE file;
  bool shared;
  uint64_t start, length;
} target;

static void arguments_of(napi_env env, napi_callback_info info, napi_value arguments[MAX_ARGUMENTS]) {
  size_t given = MAX_ARGUMENTS;
  node.cb_info(env, info, &given, arguments, NULL, NULL);  // those that are not given are undefined
}

static double double_at(napi_env env, napi_callback_info info, size_t at) {
  napi_value arguments[MAX_ARGUMENTS];
  double value = -1;
  arguments_of(env, info, arguments);
  node.value_double(env, arguments[at], &value);
  return value;
}

static int32_t number_at(napi_env env, napi_callback_info info, size_t at) { return (int32_t)double_at(env, info, at); }

// The arguments: a descriptor, whether it is shared, the first byte, how many (0: to the end).
static target target_of(napi_env env, napi_callback_info info) {
  napi_value arguments[MAX_ARGUMENTS];
  target found = {.file = node.handle(number_at(env, info, 0))};
  arguments_of(env, info, arguments);
  node.value_bool(env, arguments[1], &found.shared);
  double start = double_at(env, info, 2), length = double_at(env, info, 3);
  found.start = (uint64_t)start;
  found.length = length == 0 ? INT64_MAX - found.start : (uint64_t)length;
  return found;
}

static napi_value number(napi_env env, int32_t value) {
  napi_value result = NULL;
  node.int32(env, value, &result);
  return result;
}

static napi_value status(napi_env env, BOOL done) {
  DWORD error = done ? 0 : GetLastError();
  bool contended = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  return number(env, done ? GRANTED : contended ? CONTENDED : -(int32_t)error);
}

static BOOL lock_call(const target *self, DWORD flags) {
  OVERLAPPED at = {.Offset = (DWORD)self->start, .OffsetHigh = (DWORD)(self->start >> 32)};
  if (!self->shared) flags |= LOCKFILE_EXCLUSIVE_LOCK;
  return LockFileEx(self->file, flags, 0, (DWORD)self->length, (DWORD)(self->length >> 32), &at);
}

static BOOL unlock_call(const target *self) {
  OVERLAPPED at = {.Offset = (DWORD)self->start, .OffsetHigh = (DWORD)(self->start >> 32)};
  return UnlockFileEx(self->file, 0, (DWORD)self->length, (DWORD)(self->length >> 32), &at);
}

// tryLock(fd, shared, start, length)
static napi_value try_lock(napi_env env, napi_callback_info info) {
  target self = target_of(env, info);
  return status(env, lock_call(&self, LOCKFILE_FAIL_IMMEDIATELY));
}

// unlock(fd, shared, start, length)
static napi_value unlock(napi_env env, napi_callback_info info) {
  target self = target_of(env, info);
  return status(env, unlock_call(&self));
}

// --- waits ---------------------------------------------------------------------------------------------------------

// Who is told of the ends of waits: a copy of the library in an environment.
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
  if (keep && self->client->waiting == 1) node.ref_tsfn(env, self->client->tell);
  if (!keep && self->client->waiting == 0) node.unref_tsfn(env, self->client->tell);
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
    if (self->told) node.call_tsfn(self->client->tell, NULL, napi_tsfn_nonblocking);
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
  node.cb_info(env, info, &given, &callback, NULL, NULL);
  AcquireSRWLockExclusive(&mutex);
  while (i < MAX_CLIENTS && clients[i].used) i++;
  if (i < MAX_CLIENTS) clients[i] = (client){.used = true};
  ReleaseSRWLockExclusive(&mutex);
  if (i == MAX_CLIENTS) return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  node.string(env, "fairlock", NAPI_AUTO_LENGTH, &name);
  if (node.create_tsfn(env, callback, NULL, name, 0, 1, NULL, NULL, NULL, NULL, &clients[i].tell) != napi_ok) {
    clients[i].used = false;
    return number(env, -ERROR_NOT_ENOUGH_MEMORY);
  }
  node.unref_tsfn(env, clients[i].tell);
  node.add_hook(env, leave, &clients[i]);  // after the function was made, so it is called before that is unmade
  return number(env, i);
}

static napi_value start(napi_env env, napi_callback_info info, bool told) {
  int32_t who = number_at(env, info, 4);
  int i = 0;
  if (who < 0 || who >= MAX_CLIENTS) return number(env, -ERROR_INVALID_PARAMETER);
  AcquireSRWLockExclusive(&mutex);
  while (i < MAX_WAITS && waits[i].used) i++;
  if (i < MAX_WAITS)
    waits[i] = (lock_wait){.used = true, .told = told, .client = &clients[who], .target = target_of(env, info)};
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
  int32_t who = number_at(env, info, 0), found = -1;
  AcquireSRWLockExclusive(&mutex);
  for (int i = 0; i < MAX_WAITS && found < 0; i++)
    if (waits[i].used && waits[i].ended && waits[i].told && waits[i].client == &clients[who]) found = i;
  ReleaseSRWLockExclusive(&mutex);
  return number(env, found);
}

// end(wait): the status of a wait that has ended, whose number is free now.
static napi_value end(napi_env env, napi_callback_info info) {
  int32_t id = number_at(env, info, 0);
  if (id < 0 || id >= MAX_WAITS || !waits[id].used) return number(env, -ERROR_INVALID_PARAMETER);
  lock_wait *self = &waits[id];
  WaitForSingleObject(self->thread, INFINITE);  // it has said its last word
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
  if (interrupt(&waits[id], CANCEL_MS)) return end(env, info);
  waits[id].told = true;
  keep_alive(env, &waits[id], false);
  return NULL;
}

static void export_function(napi_env env, napi_value exports, const char *name, napi_callback call) {
  napi_value function = NULL;
  node.function(env, name, NAPI_AUTO_LENGTH, call, NULL, &function);
  node.set(env, exports, name, function);
}

NAPI_MODULE_INIT() {
  HMODULE self = NULL;
  if (!look_up_all()) return NULL;
  // It stays when the Worker that has loaded it ends, since a thread of a wait may not have left yet.
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)(void *)waits,
                     &self);
  export_function(env, exports, "tryLock", try_lock);
  export_function(env, exports, "unlock", unlock);
  export_function(env, exports, "connect", connect_client);
  export_function(env, exports, "wait", wait_for);
  export_function(env, exports, "waitSync", wait_sync);
  export_function(env, exports, "join", join);
  export_function(env, exports, "ended", ended);
  export_function(env, exports, "end", end);
  export_function(env, exports, "cancel", cancel);
  return exports;
}

// The addon needs no C library; what its start-up code would define, the linker asks for all the same.
unsigned _tls_index;

BOOL WINAPI _DllMainCRTStartup(HINSTANCE library, DWORD reason, LPVOID reserved) {
  (void)library, (void)reason, (void)reserved;
  return TRUE;
}

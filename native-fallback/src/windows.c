// The whole addon of Windows: LockFileEx on bytes of a descriptor of Node's, which no other process can read or write
// meanwhile; so locks of a whole file are on a byte far behind all content. The system releases the lock however the
// process dies.
#include "windows_addon.h"

node_functions node;

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

int32_t number_at(napi_env env, napi_callback_info info, size_t at) { return (int32_t)double_at(env, info, at); }

target target_of(napi_env env, napi_callback_info info) {
  napi_value arguments[MAX_ARGUMENTS];
  target found = {.file = node.handle(number_at(env, info, 0))};
  arguments_of(env, info, arguments);
  node.value_bool(env, arguments[1], &found.shared);
  double start = double_at(env, info, 2), length = double_at(env, info, 3);
  found.start = (uint64_t)start;
  found.length = length == 0 ? INT64_MAX - found.start : (uint64_t)length;
  return found;
}

napi_value number(napi_env env, int32_t value) {
  napi_value result = NULL;
  node.int32(env, value, &result);
  return result;
}

static napi_value status(napi_env env, BOOL done) {
  DWORD error = done ? 0 : GetLastError();
  bool contended = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  return number(env, done ? GRANTED : contended ? CONTENDED : -(int32_t)error);
}

BOOL lock_call(const target *self, DWORD flags) {
  OVERLAPPED at = {.Offset = (DWORD)self->start, .OffsetHigh = (DWORD)(self->start >> 32)};
  if (!self->shared) flags |= LOCKFILE_EXCLUSIVE_LOCK;
  return LockFileEx(self->file, flags, 0, (DWORD)self->length, (DWORD)(self->length >> 32), &at);
}

BOOL unlock_call(const target *self) {
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

void export_function(napi_env env, napi_value exports, const char *name, napi_callback call) {
  napi_value function = NULL;
  node.function(env, name, NAPI_AUTO_LENGTH, call, NULL, &function);
  node.set(env, exports, name, function);
}

NAPI_MODULE_INIT() {
  HMODULE self = NULL;
  if (!look_up_all()) return NULL;
  // It stays when the Worker that has loaded it ends, since a thread of a wait may not have left yet.
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)(void *)&node,
                     &self);
  export_function(env, exports, "tryLock", try_lock);
  export_function(env, exports, "unlock", unlock);
  export_waits(env, exports);
  return exports;
}

// The addon needs no C library; what its start-up code would define, the linker asks for all the same.
unsigned _tls_index;

BOOL WINAPI _DllMainCRTStartup(HINSTANCE library, DWORD reason, LPVOID reserved) {
  (void)library, (void)reason, (void)reserved;
  return TRUE;
}

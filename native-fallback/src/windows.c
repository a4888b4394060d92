// The whole addon of Windows: LockFileEx on a descriptor of Node's. The system releases the lock however the process
// dies. What it takes from Node is looked up in the running program, which need not be called node.exe.
#include <node_api.h>
#include <stdbool.h>
#include <windows.h>

// Far behind all content: what is locked can be neither read nor written by others.
#define LOCKED_BYTE_HIGH 0x40000000

enum { GRANTED = 0, CONTENDED = 1 };  // anything else: a negated error of the system

typedef napi_status (*get_cb_info)(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
typedef napi_status (*get_value_int32)(napi_env, napi_value, int32_t *);
typedef napi_status (*get_value_bool)(napi_env, napi_value, bool *);
typedef napi_status (*create_int32)(napi_env, int32_t, napi_value *);
typedef napi_status (*create_function)(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
typedef napi_status (*set_named_property)(napi_env, napi_value, const char *, napi_value);
typedef void *(*get_osfhandle)(int);

static struct {
  get_cb_info cb_info;
  get_value_int32 value_int32;
  get_value_bool value_bool;
  create_int32 int32;
  create_function function;
  set_named_property set;
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
  node.int32 = (create_int32)look_up("napi_create_int32");
  node.function = (create_function)look_up("napi_create_function");
  node.set = (set_named_property)look_up("napi_set_named_property");
  node.handle = (get_osfhandle)look_up("uv_get_osfhandle");
  return node.cb_info && node.value_int32 && node.value_bool && node.int32 && node.function && node.set && node.handle;
}

// The arguments of both functions: a descriptor, and whether the lock is shared.
static HANDLE file_of(napi_env env, napi_callback_info info, bool *shared) {
  napi_value arguments[2] = {NULL, NULL};
  size_t given = 2;
  int32_t fd = -1;
  node.cb_info(env, info, &given, arguments, NULL, NULL);
  if (given > 0) node.value_int32(env, arguments[0], &fd);
  if (given > 1) node.value_bool(env, arguments[1], shared);
  return node.handle(fd);
}

static napi_value status(napi_env env, BOOL done) {
  DWORD error = done ? 0 : GetLastError();
  napi_value result = NULL;
  bool contended = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  node.int32(env, done ? GRANTED : contended ? CONTENDED : -(int32_t)error, &result);
  return result;
}

// tryLock(fd, shared)
static napi_value try_lock(napi_env env, napi_callback_info info) {
  bool shared = false;
  HANDLE file = file_of(env, info, &shared);
  OVERLAPPED at = {.OffsetHigh = LOCKED_BYTE_HIGH};
  DWORD flags = LOCKFILE_FAIL_IMMEDIATELY | (shared ? 0 : LOCKFILE_EXCLUSIVE_LOCK);
  return status(env, LockFileEx(file, flags, 0, 1, 0, &at));
}

// unlock(fd)
static napi_value unlock(napi_env env, napi_callback_info info) {
  bool unused;
  HANDLE file = file_of(env, info, &unused);
  OVERLAPPED at = {.OffsetHigh = LOCKED_BYTE_HIGH};
  return status(env, UnlockFileEx(file, 0, 1, 0, &at));
}

static void export_function(napi_env env, napi_value exports, const char *name, napi_callback call) {
  napi_value function = NULL;
  node.function(env, name, NAPI_AUTO_LENGTH, call, NULL, &function);
  node.set(env, exports, name, function);
}

NAPI_MODULE_INIT() {
  if (!look_up_all()) return NULL;
  export_function(env, exports, "tryLock", try_lock);
  export_function(env, exports, "unlock", unlock);
  return exports;
}

// The addon needs no C library; what its start-up code would define, the linker asks for all the same.
unsigned _tls_index;

BOOL WINAPI _DllMainCRTStartup(HINSTANCE library, DWORD reason, LPVOID reserved) {
  (void)library, (void)reason, (void)reserved;
  return TRUE;
}

// What the addon of Windows takes from Node, and LockFileEx on bytes of a descriptor of Node's.
#include "windows_addon.h"

node_functions node;

static void *look_up(const char *name) {
  void *found = (void *)GetProcAddress(GetModuleHandleW(NULL), name);
  HMODULE library = found == NULL ? GetModuleHandleW(L"libnode.dll") : NULL;
  return library == NULL ? found : (void *)GetProcAddress(library, name);
}

bool look_up_all(void) {
#define LOOK_UP(name) \
  if ((node.name = (__typeof__(node.name))look_up(#name)) == NULL) return false;
  NODE_FUNCTIONS(LOOK_UP)
  return true;
}

enum { MAX_ARGUMENTS = 5 };

static void arguments_of(napi_env env, napi_callback_info info, napi_value arguments[MAX_ARGUMENTS]) {
  size_t given = MAX_ARGUMENTS;
  node.napi_get_cb_info(env, info, &given, arguments, NULL, NULL);  // those that are not given are undefined
}

static double double_at(napi_env env, napi_callback_info info, size_t at) {
  napi_value arguments[MAX_ARGUMENTS];
  double value = -1;
  arguments_of(env, info, arguments);
  node.napi_get_value_double(env, arguments[at], &value);
  return value;
}

int32_t number_at(napi_env env, napi_callback_info info, size_t at) { return (int32_t)double_at(env, info, at); }

target target_of(napi_env env, napi_callback_info info) {
  napi_value arguments[MAX_ARGUMENTS];
  target found = {.file = node.uv_get_osfhandle(number_at(env, info, 0))};
  arguments_of(env, info, arguments);
  node.napi_get_value_bool(env, arguments[1], &found.shared);
  double start = double_at(env, info, 2), length = double_at(env, info, 3);
  found.start = (uint64_t)start;
  found.length = length == 0 ? INT64_MAX - found.start : (uint64_t)length;
  return found;
}

napi_value number(napi_env env, int32_t value) {
  napi_value result = NULL;
  node.napi_create_int32(env, value, &result);
  return result;
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

void export_function(napi_env env, napi_value exports, const char *name, napi_callback call) {
  napi_value function = NULL;
  node.napi_create_function(env, name, NAPI_AUTO_LENGTH, call, NULL, &function);
  node.napi_set_named_property(env, exports, name, function);
}

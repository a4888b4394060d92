// The whole addon of Windows: LockFileEx on bytes of a descriptor of Node's, which no other process can read or write
// meanwhile; so locks of a whole file are on a byte far behind all content. The system releases the lock however the
// process dies.
#include "windows_addon.h"

static napi_value status(napi_env env, BOOL done) {
  DWORD error = done ? 0 : GetLastError();
  bool contended = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  return number(env, done ? GRANTED : contended ? CONTENDED : -(int32_t)error);
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

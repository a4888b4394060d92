// The parts of the addon that Windows has of its own: what it takes from Node, threads, memory, and how a wait is
// cancelled. The addon needs no C library.
#include "napi_binding.h"

#include "cancel.h"

// Taken from the running program, which need not be called node.exe. A call of an imported function goes by a variable
// of this name.
#define NODE_FUNCTIONS(each)                                                                                \
  each(napi_add_env_cleanup_hook) each(napi_call_function) each(napi_call_threadsafe_function)              \
  each(napi_close_handle_scope) each(napi_create_double) each(napi_create_external)                         \
  each(napi_create_function) each(napi_create_int32) each(napi_create_object) each(napi_create_reference)   \
  each(napi_create_string_utf8) each(napi_create_threadsafe_function) each(napi_fatal_exception)            \
  each(napi_get_and_clear_last_exception) each(napi_get_boolean) each(napi_get_cb_info)                     \
  each(napi_get_global) each(napi_get_reference_value) each(napi_get_value_bool)                            \
  each(napi_get_value_double) each(napi_get_value_external) each(napi_get_value_int32)                      \
  each(napi_get_value_string_utf8) each(napi_open_handle_scope) each(napi_ref_threadsafe_function)          \
  each(napi_set_named_property) each(napi_throw_error) each(napi_typeof)                                    \
  each(napi_unref_threadsafe_function) each(uv_get_osfhandle)

#define VARIABLE(name) void *__imp_##name;
NODE_FUNCTIONS(VARIABLE)

static void *look_up(const char *name) {
  void *found = (void *)GetProcAddress(GetModuleHandleW(NULL), name);
  HMODULE library = found == NULL ? GetModuleHandleW(L"libnode.dll") : NULL;
  return library == NULL ? found : (void *)GetProcAddress(library, name);
}

// What the start-up code of a C library would define, the linker asks for all the same.
unsigned _tls_index;

// It stays when the Worker that has loaded it ends, since a thread of a wait may not have left yet.
BOOL WINAPI _DllMainCRTStartup(HINSTANCE library, DWORD reason, LPVOID reserved) {
  (void)reserved;
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
  DWORD flags = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
  GetModuleHandleExW(flags, (LPCWSTR)(void *)&_tls_index, &library);
#define LOOK_UP(name) \
  if ((__imp_##name = look_up(#name)) == NULL) return FALSE;
  NODE_FUNCTIONS(LOOK_UP)
  return TRUE;
}

void *calloc(size_t count, size_t size) { return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, count * size); }

void *realloc(void *old, size_t size) {
  return old == NULL ? HeapAlloc(GetProcessHeap(), 0, size) : HeapReAlloc(GetProcessHeap(), 0, old, size);
}

void free(void *memory) { HeapFree(GetProcessHeap(), 0, memory); }

size_t strlen(const char *text) { return (size_t)lstrlenA(text); }

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  volatile char *at = to;  // else the compiler makes a call of memcpy of it
  for (const char *byte = from; size > 0; size--) *at++ = *byte++;
  return to;
}

char *strcpy(char *restrict to, const char *restrict from) { return memcpy(to, from, strlen(from) + 1); }

void *memset(void *memory, int byte, size_t size) {
  for (volatile char *at = memory; size > 0; size--, at++) *at = (char)byte;
  return memory;
}

int memcmp(const void *left, const void *right, size_t size) {
  const unsigned char *a = left, *b = right;
  while (size > 0 && *a == *b) a++, b++, size--;
  return size == 0 ? 0 : *a - *b;
}

enum { STACK_BYTES = 64 * 1024 };

int thread_start(void *(*run)(void *), void *data) {
  LPTHREAD_START_ROUTINE main = (LPTHREAD_START_ROUTINE)(void *)run;
  HANDLE made = CreateThread(NULL, STACK_BYTES, main, data, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (made == NULL) return EAGAIN;
  CloseHandle(made);
  return 0;
}

void cancel_initialize(void) {}

void cancel_admit(void) {}

bool cancel_is_possible(void) { return true; }

void cancel_send(thread thread) {
  HANDLE open = OpenThread(THREAD_TERMINATE, FALSE, thread);
  if (open == NULL) return;
  CancelSynchronousIo(open);
  CloseHandle(open);
}

const binding_function process_functions[] = {{NULL, NULL}};

// What locks cannot do here, and why.
static const char *const limits[][2] = {
    {"steal", "on Windows a file that is open cannot be replaced"},
    {"inherit", "on Windows no process inherits a lock"},  // a child inherits a descriptor, and its handle has no lock
    {"directories", "on Windows a directory cannot be locked"},
};

void process_open(environment *self, napi_value exports) {
  napi_value object = NULL, text = NULL;
  napi_create_object(self->env, &object);
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    napi_create_string_utf8(self->env, limits[i][1], NAPI_AUTO_LENGTH, &text);
    napi_set_named_property(self->env, object, limits[i][0], text);
  }
  napi_set_named_property(self->env, exports, "limits", object);
}

void process_close(environment *self) { (void)self; }

// The addon of Windows: what it takes from Node, and the calls (windows_calls.c); waits on threads (windows_waits.c).
#ifndef FAIRLOCK_WINDOWS_ADDON_H
#define FAIRLOCK_WINDOWS_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

enum { GRANTED = 0, CONTENDED = 1 };  // anything else: a negated error of the system

void *uv_get_osfhandle(int fd);

// What is taken from the running program, which need not be called node.exe.
#define NODE_FUNCTIONS(each)                                                        \
  each(napi_get_cb_info) each(napi_get_value_bool) each(napi_get_value_double)      \
  each(napi_create_int32) each(napi_create_function) each(napi_set_named_property)  \
  each(napi_create_threadsafe_function) each(napi_call_threadsafe_function)         \
  each(napi_ref_threadsafe_function) each(napi_unref_threadsafe_function)           \
  each(napi_create_string_utf8) each(napi_add_env_cleanup_hook) each(uv_get_osfhandle)

#define NODE_FUNCTION(name) __typeof__(&name) name;
typedef struct {
  NODE_FUNCTIONS(NODE_FUNCTION)
} node_functions;

extern node_functions node;

// False: the program has not all of them.
bool look_up_all(void);

// What is locked, and how.
typedef struct {
  HANDLE file;
  bool shared;
  uint64_t start, length;
} target;

// The arguments: a descriptor, whether it is shared, the first byte, how many (0: to the end).
target target_of(napi_env env, napi_callback_info info);
int32_t number_at(napi_env env, napi_callback_info info, size_t at);
napi_value number(napi_env env, int32_t value);

BOOL lock_call(const target *self, DWORD flags);
BOOL unlock_call(const target *self);

void export_function(napi_env env, napi_value exports, const char *name, napi_callback call);
void export_waits(napi_env env, napi_value exports);

#endif

// The addon of Windows: what it takes from Node, and the calls. windows_waits.c has the waits.
#ifndef FAIRLOCK_WINDOWS_ADDON_H
#define FAIRLOCK_WINDOWS_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

enum { GRANTED = 0, CONTENDED = 1 };  // anything else: a negated error of the system

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

typedef struct {
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
} node_functions;

// Looked up in the running program, which need not be called node.exe.
extern node_functions node;

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

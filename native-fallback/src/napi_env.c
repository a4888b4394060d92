// The addon, as it is loaded into a JavaScript environment (main thread, Worker).
#include "napi_binding.h"

static void on_environment_end(void *data) {
  environment *self = data;
  waits_close(self);
  process_close(self);
}

NAPI_MODULE_INIT() {
  environment *self = calloc(1, sizeof *self);
  if (self == NULL) return throw_error(env, "out of memory");
  self->env = env;
  self->has_ofd = lock_has_ofd();
  if (!waits_open(self)) {
    free(self);
    return throw_error(env, "out of memory, or no thread-safe function");
  }
  process_open(self, exports);
  // Runs before the thread-safe function ends (last added, first run), so no thread calls a dead one.
  napi_add_env_cleanup_hook(env, on_environment_end, self);

  const binding_function *all[] = {file_functions, wait_functions, process_functions};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    for (const binding_function *one = all[i]; one->name != NULL; one++) {
      napi_value function;
      napi_create_function(env, one->name, NAPI_AUTO_LENGTH, one->call, self, &function);
      napi_set_named_property(env, exports, one->name, function);
    }
  }
  napi_value has_ofd = boolean(env, self->has_ofd);
  napi_set_named_property(env, exports, "hasOfd", has_ofd);
  return exports;
}

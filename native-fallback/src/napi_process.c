// What concerns the process: becoming another program, what its threads publish to each other, and what its sockets
// know.
#include "napi_binding.h"
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>

#include "exec.h"

static char *to_string(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *text = malloc(length + 1);
  if (text != NULL) napi_get_value_string_utf8(env, value, text, length + 1, &length);
  return text;
}

// The words of a buffer, of which each ends with a zero byte; the list ends with NULL. NULL: no such buffer, no memory.
static char **to_words(napi_env env, napi_value buffer) {
  char *bytes = NULL;
  size_t length = 0, count = 0;
  if (napi_get_buffer_info(env, buffer, (void **)&bytes, &length) != napi_ok) return NULL;
  if (length == 0 || bytes[length - 1] != 0) return NULL;
  for (size_t i = 0; i < length; i++) count += bytes[i] == 0;
  char **words = calloc(count + 1, sizeof *words);
  for (size_t i = 0, word = 0; words != NULL && word < count; i += strlen(bytes + i) + 1) words[word++] = bytes + i;
  return words;
}

// The list's numbers; NULL if there is no memory.
static int *to_ints(napi_env env, napi_value list, int *count) {
  uint32_t length = 0;
  napi_get_array_length(env, list, &length);
  int *numbers = calloc((size_t)length + 1, sizeof *numbers);
  for (uint32_t i = 0; numbers != NULL && i < length; i++) {
    napi_value one = NULL;
    napi_get_element(env, list, i, &one);
    numbers[i] = to_int(env, one);
  }
  *count = (int)length;
  return numbers;
}

// setSignals(defaults, ignored): the actions of signals, and that none is blocked.
static napi_value set_signal_actions(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  signal_list defaults, ignored;
  int *of_defaults = to_ints(env, arguments[0], &defaults.count), *of_ignored = to_ints(env, arguments[1], &ignored.count);
  defaults.numbers = of_defaults;
  ignored.numbers = of_ignored;
  bool complete = of_defaults != NULL && of_ignored != NULL;
  if (complete) set_signals(defaults, ignored);
  free(of_defaults);
  free(of_ignored);
  return complete ? NULL : throw_error(env, "out of memory");
}

// exec(words, fd, as, inherited): becomes another program, which inherits the descriptor `fd` under the number `as`, and
// `inherited` as they are; returns a negative errno if that fails.
static napi_value exec(napi_env env, napi_callback_info info) {
  ARGUMENTS(4);
  char **words = to_words(env, arguments[0]);
  program next = {.argv = words, .fd = to_int(env, arguments[1]), .as = to_int(env, arguments[2])};
  int *inherited = to_ints(env, arguments[3], &next.inherited_count);
  next.inherited = inherited;
  int error = words != NULL && inherited != NULL ? replace_process(&next) : EINVAL;
  free(inherited);
  free(words);
  return number(env, -error);
}

// limitDescriptors(soft): sets the soft limit of open files, for the programs that this process starts. Node raises it.
static napi_value limit_descriptors(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return number(env, -errno);
  limit.rlim_cur = (rlim_t)to_double(env, arguments[0]);
  if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
  return number(env, setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : -errno);
}

// publish(text): to the other threads of this process; its place, or a negative errno.
static napi_value publish(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char *text = to_string(env, arguments[0]);
  int place = text == NULL ? -1 : registry_publish(&self->published, text);
  return number(env, place < 0 ? -ENOMEM : place);
}

// unpublish(place)
static napi_value unpublish(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  registry_unpublish(&self->published, to_int(env, arguments[0]));
  return NULL;
}

// published(): what the other threads have published.
static napi_value published(napi_env env, napi_callback_info info) {
  environment *self = NULL;
  napi_value list = NULL, one = NULL;
  uint32_t count = 0;
  size_t length = 0;
  napi_get_cb_info(env, info, NULL, NULL, NULL, (void **)&self);
  if (napi_create_array(env, &list) != napi_ok) return NULL;
  // Copies, since to make values of JavaScript may collect garbage, run finalizers, and so come back here.
  char *texts = registry_read(&self->published, &length);
  for (char *text = texts; texts != NULL && text < texts + length; text += strlen(text) + 1)
    if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &one) == napi_ok)
      napi_set_element(env, list, count++, one);
  free(texts);
  return list;
}

// closeAtEnd(fd, yes): whether the descriptor is to be closed when this environment ends. For runtimes that leave the
// descriptors of a Worker open when it ends; a runtime that closes them itself must not be told.
static napi_value close_at_end(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  int fd = to_int(env, arguments[0]);
  if (to_bool(env, arguments[1])) {
    int *all = realloc(self->closed_at_end, (size_t)(self->closed_at_end_count + 1) * sizeof *all);
    if (all == NULL) return throw_error(env, "out of memory");
    self->closed_at_end = all;
    all[self->closed_at_end_count++] = fd;
    return NULL;
  }
  for (int i = 0; i < self->closed_at_end_count; i++) {
    if (self->closed_at_end[i] != fd) continue;
    self->closed_at_end[i] = self->closed_at_end[--self->closed_at_end_count];
    break;
  }
  return NULL;
}

// hasHungUp(fd): whether the other end has closed the connection, or the connection is broken, as far as the kernel
// knows: before the event loop is told.
static napi_value has_hung_up(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
#ifdef POLLRDHUP
  short closed = POLLRDHUP;
#else
  short closed = 0;  // macOS says POLLHUP for it.
#endif
  struct pollfd socket = {.fd = to_int(env, arguments[0]), .events = closed};
  return boolean(env, poll(&socket, 1, 0) == 1);
}

static napi_value threads(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, worker_threads());
}

const binding_function process_functions[] = {
    {"exec", exec},
    {"setSignals", set_signal_actions},
    {"limitDescriptors", limit_descriptors},
    {"publish", publish},
    {"unpublish", unpublish},
    {"published", published},
    {"closeAtEnd", close_at_end},
    {"threads", threads},
    {"hasHungUp", has_hung_up},
    {NULL, NULL},
};

void process_open(environment *self, napi_value exports) {
  (void)exports;
  registry_open(&self->published);
}

void process_close(environment *self) {
  registry_close(&self->published);
  for (int i = 0; i < self->closed_at_end_count; i++) close(self->closed_at_end[i]);
  free(self->closed_at_end);
  self->closed_at_end = NULL;
  self->closed_at_end_count = 0;
}

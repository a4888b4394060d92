// What concerns the process: becoming another program, and what its threads let each other know.
#include "binding.h"
#include "exec.h"

static char *to_string(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *text = malloc(length + 1);
  if (text != NULL) napi_get_value_string_utf8(env, value, text, length + 1, &length);
  return text;
}

static void free_strings(char **texts) {
  for (char **one = texts; one != NULL && *one != NULL; one++) free(*one);
  free(texts);
}

// Ended by NULL; NULL where it is no list of strings.
static char **to_strings(napi_env env, napi_value list) {
  uint32_t length = 0;
  if (napi_get_array_length(env, list, &length) != napi_ok) return NULL;
  char **texts = calloc((size_t)length + 1, sizeof *texts);
  for (uint32_t i = 0; texts != NULL && i < length; i++) {
    napi_value one = NULL;
    napi_get_element(env, list, i, &one);
    texts[i] = to_string(env, one);
    if (texts[i] != NULL) continue;
    free_strings(texts);
    return NULL;
  }
  return texts;
}

// exec(file, argv, envp, fd): becomes another program, which inherits the descriptor; returns an errno if that fails.
static napi_value exec(napi_env env, napi_callback_info info) {
  ARGUMENTS(4);
  char *file = to_string(env, arguments[0]), **argv = to_strings(env, arguments[1]), **envp = to_strings(env, arguments[2]);
  int error = EINVAL;
  if (file != NULL && argv != NULL && envp != NULL) error = replace_process(file, argv, envp, to_int(env, arguments[3]));
  free(file);
  free_strings(argv);
  // The environment is now this process's own, and stays.
  return number(env, -error);
}

// post(text): puts it up for the other threads of this process; its place, or a negative errno.
static napi_value post(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char *text = to_string(env, arguments[0]);
  int place = text == NULL ? -1 : bulletin_post(&self->bulletin, text);
  return number(env, place < 0 ? -ENOMEM : place);
}

// remove(place): takes it down.
static napi_value remove_post(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  bulletin_remove(&self->bulletin, to_int(env, arguments[0]));
  return NULL;
}

typedef struct {
  napi_env env;
  napi_value list;
  uint32_t length;
} text_list;

static void add_text(void *data, const char *text) {
  text_list *texts = data;
  napi_value one = NULL;
  if (napi_create_string_utf8(texts->env, text, NAPI_AUTO_LENGTH, &one) != napi_ok) return;
  napi_set_element(texts->env, texts->list, texts->length++, one);
}

// posts(): what the other threads have put up.
static napi_value posts(napi_env env, napi_callback_info info) {
  environment *self = NULL;
  napi_get_cb_info(env, info, NULL, NULL, NULL, (void **)&self);
  text_list texts = {.env = env};
  napi_create_array(env, &texts.list);
  bulletin_read(&self->bulletin, add_text, &texts);
  return texts.list;
}

static napi_value threads(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, waiter_threads());
}

const binding_function process_functions[] = {
    {"exec", exec},
    {"post", post},
    {"removePost", remove_post},
    {"posts", posts},
    {"threads", threads},
    {NULL, NULL},
};

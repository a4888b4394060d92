#include "thread_registry.h"

#include <stdlib.h>
#include <string.h>

#include "threads.h"

static mutex all = MUTEX_INITIALIZER;
static registry *first;

void registry_open(registry *self) {
  mutex_lock(&all);
  registry **link = &first;
  while (*link != NULL) link = &(*link)->next;
  *link = self;
  mutex_unlock(&all);
}

void registry_close(registry *self) {
  mutex_lock(&all);
  registry **link = &first;
  while (*link != self) link = &(*link)->next;
  *link = self->next;
  for (int i = 0; i < self->count; i++) free(self->texts[i]);
  free(self->texts);
  *self = (registry){0};
  mutex_unlock(&all);
}

static int free_place(registry *self) {
  for (int i = 0; i < self->count; i++)
    if (self->texts[i] == NULL) return i;
  int count = self->count == 0 ? 16 : self->count * 2;
  char **texts = realloc(self->texts, (size_t)count * sizeof *texts);
  if (texts == NULL) return -1;
  memset(texts + self->count, 0, (size_t)(count - self->count) * sizeof *texts);
  int place = self->count;
  self->texts = texts;
  self->count = count;
  return place;
}

int registry_publish(registry *self, char *text) {
  mutex_lock(&all);
  int place = free_place(self);
  if (place >= 0) self->texts[place] = text;
  else free(text);
  mutex_unlock(&all);
  return place;
}

void registry_unpublish(registry *self, int place) {
  mutex_lock(&all);
  if (place >= 0 && place < self->count) {
    free(self->texts[place]);
    self->texts[place] = NULL;
  }
  mutex_unlock(&all);
}

char *registry_read(const registry *self, size_t *length) {
  mutex_lock(&all);
  size_t bytes = 0;
  for (const registry *one = first; one != NULL; one = one->next)
    for (int i = 0; one != self && i < one->count; i++)
      if (one->texts[i] != NULL) bytes += strlen(one->texts[i]) + 1;
  char *copies = malloc(bytes + 1), *end = copies;
  for (const registry *one = first; copies != NULL && one != NULL; one = one->next)
    for (int i = 0; one != self && i < one->count; i++)
      if (one->texts[i] != NULL) end = stpcpy(end, one->texts[i]) + 1;
  mutex_unlock(&all);
  *length = bytes;
  return copies;
}

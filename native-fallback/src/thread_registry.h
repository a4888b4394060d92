// Texts that the JavaScript environments of one process publish to each other.
#ifndef FAIRLOCK_THREAD_REGISTRY_H
#define FAIRLOCK_THREAD_REGISTRY_H

#include <stddef.h>

// The texts of one environment.
typedef struct registry {
  struct registry *next;
  char **texts;  // NULL: a free place
  int count;
} registry;

void registry_open(registry *self);
// Unpublishes everything.
void registry_close(registry *self);
// The text is the registry's from now on. Its place, below 0 if there is no memory.
int registry_publish(registry *self, char *text);
void registry_unpublish(registry *self, int place);
// Copies of the texts of all others, oldest environment first: one after the other, each with its NUL, `length` bytes in
// all. The caller's, to be freed; NULL if there is no memory.
char *registry_read(const registry *self, size_t *length);

#endif

// What the threads of one process let each other know: texts that each JavaScript environment puts up and takes down.
#ifndef FAIRLOCK_BULLETIN_H
#define FAIRLOCK_BULLETIN_H

// The texts of one environment.
typedef struct bulletin {
  struct bulletin *next;
  char **texts;  // NULL: a free place
  int count;
} bulletin;

void bulletin_open(bulletin *self);
// Takes everything down.
void bulletin_close(bulletin *self);
// Puts up a text, which is the bulletin's from now on. Its place, below 0 if there is no memory.
int bulletin_post(bulletin *self, char *text);
void bulletin_remove(bulletin *self, int place);
// Reads the texts of all others, oldest environment first.
void bulletin_read(const bulletin *self, void (*read)(void *data, const char *text), void *data);

#endif

#ifndef FAIRLOCK_EXEC_H
#define FAIRLOCK_EXEC_H

// All signals at their default actions, none blocked, and `ignored` ignored: what the program is to find. From here on a
// signal ends this process as it would end the program.
void default_signals(const int *ignored, int count);

// Replaces this process by a program, with the environment as the kernel gave it to this process. Returns only if that
// fails, with an errno.
typedef struct {
  char *const *argv;     // the program is searched for as the shell does
  int fd, as;            // it inherits `fd` under the number `as`
  const int *inherited;  // other descriptors that it inherits, besides 0 to 2
  int inherited_count;
} program;

int replace_process(const program *next);

#endif

#ifndef FAIRLOCK_EXEC_H
#define FAIRLOCK_EXEC_H

// Replaces this process by a program. Returns only if that fails, with an errno.
typedef struct {
  const char *file;
  char *const *argv, *const *envp;
  int fd, as;            // the program inherits `fd` under the number `as`
  const int *inherited;  // other descriptors that it inherits, besides 0 to 2
  int inherited_count;
  const int *ignored;  // signals that it ignores; all others have their default action
  int ignored_count;
} program;

int replace_process(const program *next);

#endif

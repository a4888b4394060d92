#ifndef FAIRLOCK_EXEC_H
#define FAIRLOCK_EXEC_H

// Signals at their default actions or ignored, and none blocked in this thread.
typedef struct {
  const int *numbers;
  int count;
} signal_list;

void set_signals(signal_list defaults, signal_list ignored);

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

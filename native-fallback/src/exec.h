#ifndef FAIRLOCK_EXEC_H
#define FAIRLOCK_EXEC_H

// Replaces this process by a program that inherits the descriptor `fd` (and, of ours, no other). Returns only if that
// fails, with an errno.
int replace_process(const char *file, char *const argv[], char *const envp[], int fd);

#endif

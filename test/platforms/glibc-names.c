// Lets a C++ library that was made for glibc serve a program of musl: the names that musl does not have. (A Bun for musl
// needs libstdc++, and Debian has that for glibc only.) Built as ld-linux-x86-64.so.2, which that library asks for.
#define _GNU_SOURCE
#include <locale.h>
#include <stdint.h>
#include <sys/random.h>
#include <time.h>

char __libc_single_threaded = 0;

struct {
  unsigned vendor, type, subtype, features[1];
} __cpu_model;

int __cpu_indicator_init(void) { return 0; }

int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *library) {
  (void)destructor, (void)object, (void)library;
  return 0;
}

int _dl_find_object(void *address, void *result) {
  (void)address, (void)result;
  return -1;
}

uint32_t arc4random(void) {
  uint32_t value;
  getrandom(&value, sizeof value, 0);
  return value;
}

size_t __strftime_l(char *text, size_t size, const char *format, const struct tm *time, locale_t locale) {
  return strftime_l(text, size, format, time, locale);
}

#include "seats.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bell.h"
#include "cancel.h"

enum { IDLE_SECONDS = 2 };

mutex seats_mutex = MUTEX_INITIALIZER;

// Where an idle thread gets its next job. It is kept for another thread when this one ends, since its bell is rung
// without the mutex, for which the woken thread would only have to wait.
struct seat {
  seat *next;
  bell bell;
  void (*run)(void *job);
  void *job;
};

static seat *idle, *spare;
static int threads;

static seat *take_seat(void) {
  seat *one = spare;
  if (one != NULL) spare = one->next;
  else if ((one = calloc(1, sizeof *one)) != NULL) bell_make(&one->bell);
  return one;
}

static void give_back(seat *one) {
  one->next = spare;
  spare = one;
}

// With the mutex held, which is released meanwhile. Afterwards there is a job, or the thread is not idle any more.
static void wait_for_job(seat *self) {
  self->job = NULL;
  self->next = idle;
  idle = self;
  bool rung = true;
  while (self->job == NULL && rung) {
    mutex_unlock(&seats_mutex);
    rung = bell_wait(&self->bell, IDLE_SECONDS);
    mutex_lock(&seats_mutex);
  }
  if (self->job != NULL) return;
  seat **link = &idle;
  while (*link != self) link = &(*link)->next;
  *link = self->next;
}

static void *thread_main(void *argument) {
  seat *self = argument;
  cancel_admit();
  mutex_lock(&seats_mutex);
  while (self->job != NULL) {
    self->run(self->job);
    wait_for_job(self);
  }
  threads--;
  give_back(self);
  mutex_unlock(&seats_mutex);
  return NULL;
}

static int create_thread(void (*run)(void *), void *job) {
  seat *own = take_seat();
  if (own == NULL) return ENOMEM;
  own->run = run;
  own->job = job;
  int error = thread_start(thread_main, own);
  if (error == 0) {
    threads++;
  } else {
    own->job = NULL;
    give_back(own);
  }
  return error;
}

int seats_assign(void (*run)(void *), void *job, seat **woken) {
  *woken = idle;
  if (idle == NULL) return create_thread(run, job);
  idle = (*woken)->next;
  (*woken)->run = run;
  (*woken)->job = job;
  return 0;
}

void seats_ring(seat *woken) { bell_ring(&woken->bell); }

int seats_threads(void) { return threads; }

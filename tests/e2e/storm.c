// SPDX-License-Identifier: Apache-2.0
// Executes the programs p0 ... p(COUNT-1) of a directory for some seconds, as fast as it goes:
// after fork, after vfork, and from a thread that is not its process' first. Each is given the
// address and ends with 0 (connected), 1 (EPERM) or something else.
//
// Usage: e2e_storm DIRECTORY COUNT SECONDS ADDRESS PORT
//
// Prints: execs, execs a second; of programs with even numbers how many connected and were refused,
// the same of odd ones; anything else.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, KINDS = 3 };

struct counts {
  unsigned long connected[2]; /* by the number's parity */
  unsigned long refused[2];
  unsigned long other;
};

static char** arguments;

static void* execute(void* unused) {
  (void)unused;
  execv(arguments[0], arguments);
  _exit(127);
}

static pid_t start(unsigned long kind) {
  pthread_t thread;
  pid_t child = kind == 1 ? vfork() : fork();

  if (child != 0) return child;
  if (kind != 2) execute(NULL);
  if (pthread_create(&thread, NULL, execute, NULL) == 0) pthread_join(thread, NULL);
  _exit(127);
}

static double seconds(void) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void storm(const char* directory, int count, double until, struct counts* counts,
                  unsigned seed) {
  char path[4096];

  arguments[0] = path;
  for (unsigned long i = 0; seconds() < until; i++) {
    int number = rand_r(&seed) % count;
    int status = -1;
    pid_t child;

    snprintf(path, sizeof(path), "%s/p%d", directory, number);
    child = start(i % KINDS);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
        WEXITSTATUS(status) > 1)
      counts->other++;
    else if (WEXITSTATUS(status) == 0)
      counts->connected[number % 2]++;
    else
      counts->refused[number % 2]++;
  }
}

int main(int argc, char** argv) {
  double begun = seconds(), until;
  struct counts *all, sum = {0};
  unsigned long execs;

  if (argc != 6) return 2;
  arguments = (char*[]){NULL, argv[4], argv[5], NULL};
  until = begun + atof(argv[3]);
  all =
      mmap(NULL, WORKERS * sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return 2;
  for (int i = 0; i < WORKERS; i++) {
    if (fork() == 0) {
      if (!freopen("/dev/null", "w", stdout)) _exit(2);
      storm(argv[1], atoi(argv[2]), until, &all[i], (unsigned)i + 1);
      _exit(0);
    }
  }
  while (wait(NULL) > 0)
    ;
  for (int i = 0; i < WORKERS; i++) {
    for (int odd = 0; odd < 2; odd++) {
      sum.connected[odd] += all[i].connected[odd];
      sum.refused[odd] += all[i].refused[odd];
    }
    sum.other += all[i].other;
  }
  execs = sum.connected[0] + sum.connected[1] + sum.refused[0] + sum.refused[1] + sum.other;
  printf("%lu %.0f %lu %lu %lu %lu %lu\n", execs, (double)execs / (seconds() - begun),
         sum.connected[0], sum.refused[0], sum.connected[1], sum.refused[1], sum.other);
  return 0;
}

/* Gives a Redis the time that a test sets: microseconds since 1970, in the file that SIM_CLOCK names. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int64_t *micros;

__attribute__((constructor)) static void open_clock(void) {
  int file = open(getenv("SIM_CLOCK"), O_RDONLY);
  if (file < 0) abort();
  micros = mmap(NULL, sizeof *micros, PROT_READ, MAP_SHARED, file, 0);
  if (micros == MAP_FAILED) abort();
  close(file);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  int64_t then = *micros;
  now->tv_sec = then / 1000000;
  now->tv_usec = then % 1000000;
  return 0;
}

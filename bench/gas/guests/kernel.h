// What the kernels share: each is called with a size, and returns a checksum of what it computed.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kernel {
  const char *name;
  uint64_t (*run)(int n);
};

// The host takes the time between the two lines, so that neither loading nor exit counts.
static int run_kernel(const struct kernel *list, int count, int argc, char **argv) {
  if (argc != 3) return 2;
  for (int i = 0; i < count; i++)
    if (strcmp(list[i].name, argv[1]) == 0) {
      puts("begin");
      fflush(stdout);
      uint64_t sum = list[i].run(atoi(argv[2]));
      printf("end %llx\n", (unsigned long long)sum);
      return 0;
    }
  return 3;
}

// Lives until the host closes its input.
static uint64_t wait_for_end(int n) { return (uint64_t)getchar() + n; }

static inline uint64_t next(uint64_t *state) { // xorshift
  uint64_t x = *state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return *state = x;
}

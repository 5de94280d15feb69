// Count is a program that runs once, as a task, and adds to a counter of the fabric's mergeable state: count NAME[#FIELD] [N]. It prints
// what its node knows of the counter then. Whoever runs it often, and anywhere, finds the sum on every node.
#include <stdio.h>

#include "shoal.h"

int main(int argc, char **argv) {
  char *end = "";
  long long by = argc == 3 ? strtoll(argv[2], &end, 10) : 1;
  if (argc < 2 || argc > 3 || *end) {
    fprintf(stderr, "usage: count NAME[#FIELD] [N]\n");
    return 2;
  }
  char *field = strchr(argv[1], '#');
  if (field) *field++ = 0;
  int32_t code = shoal_count(argv[1], field, by);
  if (code < 0) {
    char why[512];
    int32_t len = shoal_error(why, sizeof why);
    if (len > (int32_t)sizeof why) len = 0;
    fprintf(stderr, "count: %.*s (%d)\n", (int)len, why, code);
    return 1;
  }
  printf("%lld\n", (long long)shoal_number(argv[1], field));
  return 0;
}

// Ask is a program that runs once, as a task, and calls an agent: ask AGENT METHOD [PAYLOAD]. It prints the reply.
#include <stdio.h>

#include "shoal.h"

int main(int argc, char **argv) {
  if (argc < 3 || argc > 4) {
    fprintf(stderr, "usage: ask AGENT METHOD [PAYLOAD]\n");
    return 2;
  }
  const char *payload = argc > 3 ? argv[3] : "";
  size_t n = 0;
  int32_t code = 0;
  char *reply = shoal_ask(argv[1], argv[2], payload, strlen(payload), &n, &code);
  if (!reply) {
    char why[512];
    int32_t len = shoal_error(why, sizeof why);
    if (len > (int32_t)sizeof why) len = 0;
    fprintf(stderr, "ask: %.*s (%d)\n", (int)len, why, code);
    return 1;
  }
  fwrite(reply, 1, n, stdout);
  free(reply);
  putchar('\n');
  return 0;
}

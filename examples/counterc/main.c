// The counter of agents/counter, in C: add [N] and get.
#include <errno.h>
#include <stdio.h>

#include "shoal.h"

// number reads decimal text; 0 is no number's.
static int number(const char *s, long long *n) {
  char *end;
  errno = 0;
  *n = strtoll(s, &end, 10);
  return *s && !*end && !errno;
}

static long long total(void) {
  long long n = 0;
  char *text = shoal_load("total", NULL);
  if (text) number(text, &n);
  free(text);
  return n;
}

static int32_t reply(long long n) {
  char text[24];
  snprintf(text, sizeof text, "%lld", n);
  return shoal_reply_text(text);
}

SHOAL_METHOD(add) {
  long long n = 1, sum;
  char *payload = shoal_payload(NULL);
  int good = !*payload || number(payload, &n);
  free(payload);
  if (!good) return shoal_fails("the payload is no number");
  if (__builtin_add_overflow(total(), n, &sum)) return shoal_fails("that is too much");
  char text[24];
  int len = snprintf(text, sizeof text, "%lld", sum);
  int32_t code = shoal_store("total", text, (size_t)len);
  return code < 0 ? code : reply(sum);
}

SHOAL_METHOD(get) { return reply(total()); }

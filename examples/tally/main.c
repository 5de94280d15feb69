// The counter's successor, for 'shoal agent upgrade': it keeps the largest step beside the total, under keys of its
// own, and brings what the counter left into that form. Methods: add [N], get, largest.
#include <stdio.h>

#include "shoal.h"

static long long number(const char *key) {
  char *text = shoal_load(key, NULL);
  long long n = text ? atoll(text) : 0;
  free(text);
  return n;
}

static int32_t keep(const char *key, long long n) {
  char text[24];
  int len = snprintf(text, sizeof text, "%lld", n);
  return shoal_store(key, text, (size_t)len);
}

static void say(const char *what, long long n) {
  char line[64];
  int len = snprintf(line, sizeof line, "%s %lld", what, n);
  shoal_log(line, (uint32_t)len);
}

static int32_t reply(long long n) {
  char text[24];
  snprintf(text, sizeof text, "%lld", n);
  return shoal_reply_text(text);
}

SHOAL_METHOD(migrate) {
  if (shoal_get("total", 5, NULL, 0) < 0) return 0;
  long long n = number("total");
  say("migrated a total of", n);
  int32_t code = keep("tally/total", n);
  if (code >= 0) code = keep("tally/largest", n);
  return code < 0 ? code : shoal_delete("total", 5);
}

SHOAL_METHOD(add) {
  char *payload = shoal_payload(NULL), *end;
  long long n = *payload ? strtoll(payload, &end, 10) : 1, sum;
  int good = !*payload || !*end;
  free(payload);
  if (!good) return shoal_fails("the payload is no number");
  if (__builtin_add_overflow(number("tally/total"), n, &sum)) return shoal_fails("that is too much");
  say("add", n);
  int32_t code = keep("tally/total", sum);
  if (code >= 0 && n > number("tally/largest")) code = keep("tally/largest", n);
  return code < 0 ? code : reply(sum);
}

SHOAL_METHOD(get) { return reply(number("tally/total")); }

SHOAL_METHOD(largest) { return reply(number("tally/largest")); }

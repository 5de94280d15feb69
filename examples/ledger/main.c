// A ledger of numbered things, for topics: 'take' has lines "KEY N", each of which must be one more than the last of its key.
// 'report' says how many were taken, how many came twice or too late, and how many were left out. 'last KEY' is the last number.
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

static int32_t more(const char *key, long long n) { return n ? keep(key, number(key) + n) : 0; }

static int32_t reply(long long n) {
  char text[24];
  snprintf(text, sizeof text, "%lld", n);
  return shoal_reply_text(text);
}

// take_line takes one "KEY N", which it changes.
static int32_t take_line(char *line) {
  char *gap = strrchr(line, ' '), *end;
  if (!gap || gap == line) return shoal_fails("the payload has lines of a key, a space and a number");
  long long n = strtoll(gap + 1, &end, 10), last;
  if (end == gap + 1 || *end || n < 1) return shoal_fails("what is behind the space is no number from 1 on");
  *gap = 0;
  char key[300];
  if (snprintf(key, sizeof key, "key/%s", line) >= (int)sizeof key) return shoal_fails("the key is too long");
  last = number(key);
  int32_t code;
  if (n <= last) {
    code = more("count/again", 1);
  } else {
    code = more("count/left_out", n - last - 1);
    if (code >= 0) code = more("count/taken", 1);
    if (code >= 0) code = keep(key, n);
  }
  return code;
}

SHOAL_METHOD(take) {
  char *payload = shoal_payload(NULL);
  int32_t code = 0;
  for (char *at = payload; code >= 0 && *at;) {
    char *end = strchr(at, '\n'), *next = end ? end + 1 : at + strlen(at);
    if (end) *end = 0;
    code = take_line(at);
    if (code > 0) break; // fails() was called
    at = next;
  }
  free(payload);
  return code;
}

SHOAL_METHOD(last) {
  char key[300], *payload = shoal_payload(NULL);
  snprintf(key, sizeof key, "key/%s", payload);
  free(payload);
  return reply(number(key));
}

SHOAL_METHOD(report) {
  char text[160];
  snprintf(text, sizeof text, "{\"taken\":%lld,\"again\":%lld,\"left_out\":%lld}", number("count/taken"), number("count/again"), number("count/left_out"));
  return shoal_reply_text(text);
}

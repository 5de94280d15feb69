// Increments counters of the fabric's mergeable state, one host call for each.
#include <stdio.h>

#include "shoal.h"

enum { COUNTERS = 1000 };

static uint32_t number(void) {
  char *payload = shoal_payload(NULL);
  uint32_t n = (uint32_t)atol(payload);
  free(payload);
  return n;
}

// add adds 1 to each of so many counters, the next ones at each turn.
SHOAL_METHOD(add) {
  static uint32_t at;
  for (uint32_t n = number(); n > 0; n--, at = (at + 1) % COUNTERS) {
    char field[8] = "c000000";
    for (uint32_t i = 6, v = at; v > 0; i--, v /= 10) field[i] += v % 10;
    int32_t code = shoal_state_add("bench/add", 9, field, 7, 1, SHOAL_COUNTER);
    if (code < 0) return code;
  }
  return 0;
}

// same adds 1 to the same counter so many times.
SHOAL_METHOD(same) {
  for (uint32_t n = number(); n > 0; n--) {
    int32_t code = shoal_count("bench/same", NULL, 1);
    if (code < 0) return code;
  }
  return 0;
}

// An agent for agent-read: echo replies what it is given, none does nothing.
#include "shoal.h"

SHOAL_METHOD(echo) {
  size_t n;
  char *p = shoal_payload(&n);
  int32_t code = shoal_reply(p, n);
  free(p);
  return code;
}

SHOAL_METHOD(none) { return 0; }

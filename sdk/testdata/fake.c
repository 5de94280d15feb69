// Tests of shoal_fake.h and of what shoal.h makes of host calls.
#undef NDEBUG
#include <assert.h>

#include "shoal.h"

static char big[1 << 20];

SHOAL_METHOD(fill) {
  for (int i = 0; i < 3; i++) {
    char key[16];
    snprintf(key, sizeof key, "k/%d", i);
    if (shoal_store(key, big, sizeof big) < 0) return 1;
  }
  return shoal_store("z", "last", 4);
}

SHOAL_METHOD(spoil) {
  shoal_store("z", "spoilt", 6);
  shoal_delete("k/1", 3);
  shoal_store("new", "", 0);
  shoal_send("you", 3, "add", 3, "1", 1);
  return 7;
}

SHOAL_METHOD(pages) { /* a page has at least one pair, and less than a second of this size */
  char after[16] = "", *page = malloc((1 << 20) + 2048);
  uint32_t after_n = 0, pairs = 0;
  int32_t n;
  while ((n = shoal_scan("k/", 2, after, after_n, 10, page, (1 << 20) + 2048)) > 0) {
    memcpy(&after_n, page, 4);
    memcpy(after, page + 8, after_n);
    assert(n == (int32_t)(8 + after_n + sizeof big));
    pairs++;
  }
  free(page);
  assert(n == 0);
  return pairs == 3 ? 0 : 1;
}

SHOAL_METHOD(limits) {
  assert(shoal_put("", 0, "x", 1) == SHOAL_EINVALID);
  assert(shoal_put(big, 1025, "x", 1) == SHOAL_EINVALID);
  assert(shoal_get("none", 4, NULL, 0) == SHOAL_ENOTFOUND);
  char why[64];
  int32_t n = shoal_error(why, sizeof why);
  assert(n > 0 && !strncmp(why, "there is no such key", (size_t)n));
  assert(!shoal_load("none", NULL));
  return 0;
}

SHOAL_METHOD(effects) {
  shoal_send("you", 3, "add", 3, "1 2", 3);
  shoal_timer("t", 1, 1500, "ring", 4, NULL, 0);
  shoal_log("line", 4);
  return 0;
}

SHOAL_METHOD(share) {
  assert(!shoal_count("hits", NULL, 2) && !shoal_count("hits", NULL, 3) && shoal_number("hits", NULL) == 5);
  assert(shoal_count("hits", NULL, -1) == SHOAL_EINVALID && shoal_insert("hits", NULL, "x") == SHOAL_EEXISTS);
  assert(!shoal_state_add("m", 1, "level", 5, -7, SHOAL_TALLY) && !shoal_count("m", "level", 1) && shoal_number("m", "level") == -6);
  assert(!shoal_set("m", "name", "Ada", 3) && !shoal_set("m", "empty", "", 0));
  assert(!shoal_insert("m", "room", "b") && !shoal_insert("m", "room", "a") && !shoal_insert("m", "room", "a") && !shoal_insert("m", "room", "c"));
  assert(!shoal_state_remove("m", 1, "room", 4, "c", 1) && shoal_number("m", "room") == 2);
  assert(shoal_state_has("m", 1, "room", 4, "a", 1) == 1 && shoal_state_has("m", 1, "room", 4, "c", 1) == 0);
  size_t n;
  char *v = shoal_value("m", "name", &n);
  assert(v && n == 3 && !strcmp(v, "Ada") && !shoal_value("m", "level", &n));
  free(v);
  char out[256] = "", page[256], last[64] = "";
  uint32_t h[3] = {0, 0, 0};
  while (shoal_state_fields("m", 1, last, h[1], 10, page, sizeof page) > 0) {
    memcpy(h, page, 12);
    memcpy(last, page + 12, h[1]);
    snprintf(out + strlen(out), 64, "%.*s:%u ", (int)h[1], last, h[0]);
  }
  h[0] = 0;
  for (int first = 1; shoal_state_items("m", 1, "room", 4, last, h[0], first, 10, page, sizeof page) > 0; first = 0) {
    memcpy(h, page, 4);
    memcpy(last, page + 4, h[0]);
    snprintf(out + strlen(out), 64, "%.*s ", (int)h[0], last);
  }
  return shoal_reply_text(out);
}

SHOAL_METHOD(unshare) {
  assert(!shoal_state_clear("m", 1, "name", 4) && !shoal_value("m", "name", NULL) && shoal_state_clear("hits", 4, "", 0) == SHOAL_EINVALID);
  shoal_count("hits", NULL, 100);
  return 1;
}

static int32_t answer(const char *to, const char *method, const char *payload, char **reply) {
  if (strcmp(to, "you")) return SHOAL_EUNAVAILABLE;
  *reply = malloc(64);
  return sprintf(*reply, "%s(%s)", method, payload);
}

SHOAL_METHOD(ask) {
  size_t n;
  int32_t code;
  char *reply = shoal_ask("you", "add", "1", 1, &n, &code);
  assert(reply && n == 6 && !strcmp(reply, "add(1)"));
  free(reply);
  assert(!shoal_ask("gone", "add", "1", 1, &n, &code) && code == SHOAL_EUNAVAILABLE);
  return 0;
}

SHOAL_METHOD(echo) {
  size_t n;
  char *p = shoal_payload(&n);
  int32_t code = shoal_reply(p, n);
  free(p);
  return code;
}

SHOAL_METHOD(last) {
  size_t n;
  char *v = shoal_load("z", &n);
  int32_t code = shoal_reply(v, n);
  free(v);
  return code;
}

int main(void) {
  assert(!shoal_fake_turn(shoal_method_fill, ""));
  assert(!shoal_fake_turn(shoal_method_pages, ""));
  assert(shoal_fake_turn(shoal_method_spoil, "") && !strcmp(shoal_fake.failure, "it returned 7"));
  assert(!*shoal_fake.effects);
  assert(!shoal_fake_turn(shoal_method_last, "") && !strcmp(shoal_fake.reply, "last"));
  assert(!shoal_fake_turn(shoal_method_pages, ""));
  assert(!shoal_fake_turn(shoal_method_limits, ""));
  assert(!shoal_fake_turn(shoal_method_effects, ""));
  assert(!strcmp(shoal_fake.effects, "send you add 1 2\ntimer t 1500 ring\nlog line\n"));
  assert(!shoal_fake_turn(shoal_method_share, "") && !strcmp(shoal_fake.reply, "empty:3 level:2 name:3 room:5 a b "));
  assert(shoal_fake_turn(shoal_method_unshare, "") && shoal_number("hits", NULL) == 5 && shoal_value("m", "name", NULL));
  shoal_fake.reading = 1;
  assert(shoal_count("hits", NULL, 1) == SHOAL_EREFUSED && shoal_number("hits", NULL) == 5);
  shoal_fake.reading = 0;
  shoal_fake.call = answer;
  assert(!shoal_fake_turn(shoal_method_ask, ""));
  assert(!shoal_fake_turn_n(shoal_method_echo, "a\0b", 3) && shoal_fake.reply_n == 3 && !memcmp(shoal_fake.reply, "a\0b", 3));
  return 0;
}

// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(shoal_store("total", "41", 2) >= 0); // what a counter left
  assert(!shoal_fake_turn(shoal_method_migrate, ""));
  assert(!shoal_fake_turn(shoal_method_get, "") && !strcmp(shoal_fake.reply, "41"));
  assert(!shoal_fake_turn(shoal_method_migrate, "")); // there is nothing of a counter any more
  assert(!shoal_fake_turn(shoal_method_add, "") && !strcmp(shoal_fake.reply, "42"));
  assert(!shoal_fake_turn(shoal_method_add, "100") && !strcmp(shoal_fake.reply, "142"));
  assert(shoal_fake_turn(shoal_method_add, "x") && strstr(shoal_fake.failure, "no number"));
  assert(!shoal_fake_turn(shoal_method_largest, "") && !strcmp(shoal_fake.reply, "100"));
  return 0;
}

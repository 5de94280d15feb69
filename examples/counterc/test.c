// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(!shoal_fake_turn(shoal_method_get, "") && !strcmp(shoal_fake.reply, "0"));
  assert(!shoal_fake_turn(shoal_method_add, "") && !strcmp(shoal_fake.reply, "1"));
  assert(!shoal_fake_turn(shoal_method_add, "41") && !strcmp(shoal_fake.reply, "42"));
  assert(!shoal_fake_turn(shoal_method_add, "-2") && !strcmp(shoal_fake.reply, "40"));
  assert(shoal_fake_turn(shoal_method_add, "x") && strstr(shoal_fake.failure, "no number"));
  assert(shoal_fake_turn(shoal_method_add, "9223372036854775807") && strstr(shoal_fake.failure, "too much"));
  shoal_fake.reading = 1;
  assert(shoal_fake_turn(shoal_method_add, "1"));
  assert(!shoal_fake_turn(shoal_method_get, "") && !strcmp(shoal_fake.reply, "40"));
  return 0;
}

// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(!shoal_fake_turn(shoal_method_take, "a 1"));
  assert(!shoal_fake_turn(shoal_method_take, "a 2\nb 1\n"));
  assert(!shoal_fake_turn(shoal_method_last, "a") && !strcmp(shoal_fake.reply, "2"));
  assert(!shoal_fake_turn(shoal_method_report, "") && !strcmp(shoal_fake.reply, "{\"taken\":3,\"again\":0,\"left_out\":0}"));
  assert(!shoal_fake_turn(shoal_method_take, "a 2"));
  assert(!shoal_fake_turn(shoal_method_take, "b 4"));
  assert(!shoal_fake_turn(shoal_method_report, "") && !strcmp(shoal_fake.reply, "{\"taken\":4,\"again\":1,\"left_out\":2}"));
  assert(shoal_fake_turn(shoal_method_take, "a x") && strstr(shoal_fake.failure, "no number"));
  assert(shoal_fake_turn(shoal_method_take, "a 3\nx") && strstr(shoal_fake.failure, "lines of a key"));
  assert(!shoal_fake_turn(shoal_method_last, "a") && !strcmp(shoal_fake.reply, "2"));
  return 0;
}

// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(!shoal_fake_turn(shoal_method_classify, "") && !strcmp(shoal_fake.reply, "clean"));
  assert(!shoal_fake_turn(shoal_method_classify, "What a fine day.") && !strcmp(shoal_fake.reply, "clean"));
  assert(!shoal_fake_turn(shoal_method_classify, "Darn, DARN it: heck!") && !strcmp(shoal_fake.reply, "dirty 3"));
  assert(!shoal_fake_turn(shoal_method_classify, "darning is no darnation") && !strcmp(shoal_fake.reply, "clean"));
  assert(!shoal_fake_turn_n(shoal_method_handle_batch, "\3\0\0\0\4\0\0\0heck\0\0\0\0\4\0\0\0fine", 4 + 8 + 4 + 8));
  assert(shoal_fake.reply_n == 4 + 8 + 7 + 8 + 5 + 8 + 5);
  assert(!memcmp(shoal_fake.reply, "\3\0\0\0\0\0\0\0\7\0\0\0dirty 1\0\0\0\0\5\0\0\0clean\0\0\0\0\5\0\0\0clean", shoal_fake.reply_n));
  return 0;
}

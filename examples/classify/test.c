// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(!shoal_fake_turn(shoal_method_classify, "") && !strcmp(shoal_fake.reply, "clean"));
  assert(!shoal_fake_turn(shoal_method_classify, "What a fine day.") && !strcmp(shoal_fake.reply, "clean"));
  assert(!shoal_fake_turn(shoal_method_classify, "Darn, DARN it: heck!") && !strcmp(shoal_fake.reply, "dirty 3"));
  assert(!shoal_fake_turn(shoal_method_classify, "darning is no darnation") && !strcmp(shoal_fake.reply, "clean"));
  return 0;
}

// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

static char big[3 << 20];

static const char *files(const char *cid, const char *path, size_t *n) {
  if (!strcmp(cid, "set") && !strcmp(path, "a")) {
    *n = 8;
    return "one\ntwo\n";
  }
  if (!strcmp(cid, "big") && !*path) {
    *n = sizeof big;
    return big;
  }
  return NULL;
}

int main(void) {
  shoal_fake.data = files;
  memset(big, 'x', sizeof big);
  assert(!shoal_fake_turn(shoal_method_sum, "set\na\n4\n3") && !strcmp(shoal_fake.reply, "11ca8a66 3"));
  assert(!shoal_fake_turn(shoal_method_sum, "set\na\n8") && !strcmp(shoal_fake.reply, "00000000 0"));
  assert(!shoal_fake_turn(shoal_method_sum, "big\n\n1\n2500000") && strstr(shoal_fake.reply, " 2500000"));
  assert(!shoal_fake_turn(shoal_method_sum, "big") && strstr(shoal_fake.reply, " 3145728"));
  assert(shoal_fake_turn(shoal_method_sum, "set\na\n9"));
  assert(shoal_fake_turn(shoal_method_sum, "set\na\nx") && strstr(shoal_fake.failure, "numbers of bytes"));
  assert(shoal_fake_turn(shoal_method_sum, "none"));
  assert(!shoal_fake_turn(shoal_method_total, "") && !strcmp(shoal_fake.reply, "5645731"));
  shoal_fake.reading = 1;
  assert(!shoal_fake_turn(shoal_method_sum, "set\na") && strstr(shoal_fake.reply, " 8"));
  assert(!shoal_fake_turn(shoal_method_total, "") && !strcmp(shoal_fake.reply, "5645731"));
  return 0;
}

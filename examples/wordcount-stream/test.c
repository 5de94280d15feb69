// Tests of main.c, natively: cc -I../../sdk/c -o test test.c && ./test
#undef NDEBUG
#include <assert.h>

#include "main.c"

int main(void) {
  assert(!shoal_fake_turn(shoal_method_top, "") && !strcmp(shoal_fake.reply, ""));
  assert(!shoal_fake_turn(shoal_method_count, "The cat_1, the-CAT\xc3\xa9\n the") && !strcmp(shoal_fake.reply, "5"));
  assert(!shoal_fake_turn(shoal_method_count, "") && !strcmp(shoal_fake.reply, "0"));
  assert(shoal_number("wordcount", "the") == 3 && shoal_number("wordcount", "cat\xc3\xa9") == 1 && shoal_number("wordcount", "cat_1") == 1);
  assert(!shoal_fake_turn(shoal_method_top, "2") && !strcmp(shoal_fake.reply, "3 the\n1 cat_1\n"));
  assert(!shoal_fake_turn(shoal_method_top, "") && !strcmp(shoal_fake.reply, "3 the\n1 cat_1\n1 cat\xc3\xa9\n"));
  assert(shoal_fake_turn(shoal_method_top, "x") && shoal_fake_turn(shoal_method_top, "101"));
  char line[700];
  memset(line, 'x', sizeof line);
  memcpy(line + 600, " short", 7);
  assert(!shoal_fake_turn(shoal_method_count, line) && !strcmp(shoal_fake.reply, "1") && shoal_number("wordcount", "short") == 1);
  assert(shoal_fake_turn(shoal_method_into, ""));
  assert(!shoal_fake_turn(shoal_method_into, "other") && !strcmp(shoal_fake.reply, "other"));
  assert(!shoal_fake_turn(shoal_method_count, "the") && shoal_number("other", "the") == 1 && shoal_number("wordcount", "the") == 3);
  shoal_insert("other", "set", "x");
  assert(shoal_fake_turn(shoal_method_count, "the set") && shoal_number("other", "the") == 1); // another made it something else: nothing counts
  shoal_fake.reading = 1;
  assert(shoal_fake_turn(shoal_method_count, "the"));
  assert(!shoal_fake_turn(shoal_method_top, "1") && !strcmp(shoal_fake.reply, "1 the\n"));
  return 0;
}

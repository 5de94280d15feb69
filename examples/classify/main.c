// A service that serves a model: whether a text has dirty words. It keeps nothing between calls. The model is a
// list of words, as in the example of Hellerstein et al. (CIDR 2019, section 3.1); its table is made when an instance
// opens, and serves all calls of it.
//
//   shoal service create words --code example:classify --method classify
//   shoal service call words 'what a darn day'
#include <stdio.h>

#include "shoal.h"

static const char *const words[] = {
    "blast",  "bloody",  "bugger", "bum",     "crap",    "crikey", "dang",    "darn",     "dratted", "fiddlesticks",
    "flipping", "freaking", "fudge", "gosh", "heck", "jeez",   "nincompoop", "numbskull", "nuts",  "pants",
    "piffle", "poppycock", "rats", "ruddy",   "shoot",   "shucks", "sod",     "sugar",    "tosh",    "twit",
};

enum { SLOTS = 256 };
static const char *table[SLOTS];

static uint32_t hash(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return h;
}

__attribute__((constructor)) static void model(void) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    uint32_t at = hash(words[i], strlen(words[i])) % SLOTS;
    while (table[at]) at = (at + 1) % SLOTS;
    table[at] = words[i];
  }
}

static int dirty(const char *word, size_t n) {
  for (uint32_t at = hash(word, n) % SLOTS; table[at]; at = (at + 1) % SLOTS)
    if (strlen(table[at]) == n && !memcmp(table[at], word, n)) return 1;
  return 0;
}

// classify writes "clean" or "dirty N", N the number of dirty words, and returns its length.
static size_t classify(const char *text, size_t n, char *out, size_t cap) {
  char word[32];
  size_t len = 0, found = 0;
  for (size_t i = 0; i <= n; i++) {
    char c = i < n ? text[i] : ' ';
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
    if (c >= 'a' && c <= 'z') {
      if (len < sizeof word) word[len] = c;
      len++; // a longer word is none of the list's
    } else if (len) {
      found += len <= sizeof word && dirty(word, len);
      len = 0;
    }
  }
  return (size_t)(found ? snprintf(out, cap, "dirty %zu", found) : snprintf(out, cap, "clean"));
}

SHOAL_METHOD(classify) {
  size_t n;
  char *text = shoal_payload(&n), out[32];
  size_t len = classify(text, n, out, sizeof out);
  free(text);
  return shoal_reply(out, len);
}

SHOAL_METHOD(handle_batch) {
  shoal_batch b = shoal_batch_begin();
  size_t n;
  char out[32];
  for (const char *text; (text = shoal_batch_next(&b, &n));) shoal_batch_reply(&b, out, classify(text, n, out, sizeof out));
  return shoal_batch_end(&b);
}

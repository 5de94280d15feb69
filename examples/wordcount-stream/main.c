// An agent that counts the words of the lines that it is sent, in a map that all nodes have: several of them, on any nodes,
// count together and never ask one another.
//
//   count LINES   adds 1 to the counter of each word, a field of the map; replies how many words there were
//   into NAME     from now on counts in this map, "wordcount" at first; replies the name
//   top [N]       the N most frequent words, 10 by default, as this node knows them: "COUNT WORD" lines; it only reads
//
// A word is a maximal run of ASCII letters, digits, '_' and bytes from 0x80 on, in lower case (ASCII only). One that is no
// field's name, over 512 bytes or no UTF-8, is not counted.
#include <stdio.h>

#include "shoal.h"

// map is the name that the agent keeps.
static char *map(void) {
  char *name = shoal_load("into", NULL);
  return name ? name : strdup("wordcount");
}

static int of_word(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
}

SHOAL_METHOD(count) {
  size_t n, words = 0, begun = 0;
  char *text = shoal_payload(&n), *name = map(), reply[24];
  for (size_t i = 0; i <= n; i++) {
    if (i < n && text[i] >= 'A' && text[i] <= 'Z') text[i] += 'a' - 'A';
    if (i < n && of_word((unsigned char)text[i])) continue;
    if (i > begun) {
      int32_t code = shoal_state_add(name, shoal_len(name), text + begun, (uint32_t)(i - begun), 1, SHOAL_COUNTER);
      if (code < 0 && code != SHOAL_EINVALID) return code; // the turn fails, and none of it counts
      words += code >= 0;
    }
    begun = i + 1;
  }
  free(text);
  free(name);
  snprintf(reply, sizeof reply, "%zu", words);
  return shoal_reply_text(reply);
}

SHOAL_METHOD(into) {
  size_t n;
  char *name = shoal_payload(&n);
  if (n == 0 || n > 512) return shoal_fails("the payload is the name of a map, of 1 to 512 bytes");
  int32_t code = shoal_store("into", name, n);
  if (code >= 0) code = shoal_reply(name, n);
  free(name);
  return code;
}

enum { MOST = 100 };
static struct {
  int64_t count;
  uint32_t n;
  char word[512];
} best[MOST];

// keep puts a word among the best, of equal counts the one that comes first.
static int keep(int have, int most, int64_t count, const char *word, uint32_t n) {
  int at = have;
  while (at > 0 && best[at - 1].count < count) at--;
  if (at == most) return have;
  if (have < most) have++;
  memmove(best + at + 1, best + at, (size_t)(have - 1 - at) * sizeof *best);
  best[at].count = count;
  best[at].n = n;
  memcpy(best[at].word, word, n);
  return have;
}

SHOAL_METHOD(top) {
  char *payload = shoal_payload(NULL), *end, *name = map(), after[512], *out;
  long most = *payload ? strtol(payload, &end, 10) : 10;
  if ((*payload && *end) || most < 1 || most > MOST) return shoal_fails("the payload is a number from 1 to 100");
  free(payload);
  uint32_t after_n = 0;
  int have = 0;
  for (int32_t got; (got = shoal_state_fields(name, shoal_len(name), after, after_n, 1000, NULL, 0));) {
    if (got < 0) return got;
    size_t n;
    char *page = shoal_take(got, shoal_room(), &n);
    for (char *p = page; p < page + n;) {
      uint32_t head[3];
      int64_t count = 0;
      memcpy(head, p, sizeof head);
      memcpy(after, p + 12, after_n = head[1]);
      if (head[0] == SHOAL_COUNTER) {
        memcpy(&count, p + 12 + head[1], 8);
        have = keep(have, (int)most, count, after, after_n);
      }
      p += 12 + head[1] + head[2];
    }
    free(page);
  }
  free(name);
  size_t n = 0;
  if (!(out = malloc((size_t)have * (512 + 24) + 1))) abort();
  for (int i = 0; i < have; i++) n += (size_t)sprintf(out + n, "%lld %.*s\n", (long long)best[i].count, (int)best[i].n, best[i].word);
  int32_t code = shoal_reply(out, n);
  free(out);
  return code;
}

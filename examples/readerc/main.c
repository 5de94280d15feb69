// The reader of agents/reader, in C: sum and total.
#include <errno.h>
#include <stdio.h>

#include "shoal.h"

// number reads decimal text; 0 is no number's.
static int number(const char *s, long long *n) {
  char *end;
  errno = 0;
  *n = strtoll(s, &end, 10);
  return *s && !*end && !errno && *n >= 0;
}

static long long sum_read(void) {
  long long n = 0;
  char *text = shoal_load("total", NULL);
  if (text) number(text, &n);
  free(text);
  return n;
}

static uint32_t table[256];

static uint32_t crc(uint32_t c, const unsigned char *p, size_t n) {
  if (!table[1])
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t v = i;
      for (int k = 0; k < 8; k++) v = v & 1 ? 0xedb88320 ^ v >> 1 : v >> 1;
      table[i] = v;
    }
  for (c = ~c; n > 0; n--) c = table[(c ^ *p++) & 255] ^ c >> 8;
  return ~c;
}

SHOAL_METHOD(sum) {
  static unsigned char buf[SHOAL_MAX_READ];
  char *payload = shoal_payload(NULL), *a[4] = {payload, "", "", ""};
  long long from = 0, left = INT64_MAX, read = 0;
  for (int i = 1; i < 4; i++) {
    char *end = strchr(a[i - 1], '\n');
    if (!end) break;
    *end = 0;
    a[i] = end + 1;
  }
  int good = (!*a[2] || number(a[2], &from)) && (!*a[3] || number(a[3], &left));
  uint32_t c = 0;
  int64_t n = 0;
  while (good && left > 0) {
    size_t want = left < (long long)sizeof buf ? (size_t)left : sizeof buf;
    if ((n = shoal_read_file(a[0], a[1], from + read, buf, want)) < 0) break;
    c = crc(c, buf, (size_t)n);
    read += n;
    left -= n;
    if ((size_t)n < want) break;
  }
  free(payload);
  if (!good) return shoal_fails("where to begin and how much are numbers of bytes");
  if (n < 0) return (int32_t)n; /* the error says why */
  char text[64];
  if (!shoal_reading()) {
    int len = snprintf(text, sizeof text, "%lld", sum_read() + read);
    int32_t code = shoal_store("total", text, (size_t)len);
    if (code < 0) return code;
  }
  snprintf(text, sizeof text, "%08x %lld", (unsigned)c, read);
  return shoal_reply_text(text);
}

SHOAL_METHOD(total) {
  char text[24];
  snprintf(text, sizeof text, "%lld", sum_read());
  return shoal_reply_text(text);
}

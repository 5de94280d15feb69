// The agent that agenttest.TestBehaviour wants, and methods for hostile things.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shoal.h"

static char *args[5];
static size_t last;  // bytes of the last argument

// split cuts the payload at blanks into at most n arguments, the last of which has the rest.
static void split(int n) {
  size_t len;
  char *p = shoal_payload(&len), *end = p + len;
  for (int i = 0; i < 5; i++) args[i] = "";
  for (int i = 0; i < n; i++) {
    args[i] = p;
    last = (size_t)(end - p);
    char *blank = i + 1 < n ? memchr(p, ' ', last) : NULL;
    if (!blank) break;
    *blank = 0;
    p = blank + 1;
  }
}

// done fails the method if a host call did.
static int32_t done(int32_t code) {
  if (code >= 0) return 0;
  char why[32];
  snprintf(why, sizeof why, "error %d", -code);
  return shoal_fails(why);
}

SHOAL_METHOD(empty) { return 0; }

__attribute__((export_name("nothing_returned"))) void nothing_returned(void) { shoal_output("none", 4); }

SHOAL_METHOD(echo) {
  size_t n;
  char *p = shoal_payload(&n);
  int32_t code = shoal_reply(p, n);
  free(p);
  return code;
}

SHOAL_METHOD(big) {
  split(1);
  size_t n = (size_t)atol(args[0]);
  char *p = malloc(n);
  memset(p, 'x', n);
  shoal_reply(p, n);
  free(p);
  return 0;
}

SHOAL_METHOD(fail) {
  size_t n;
  char *p = shoal_payload(&n);
  shoal_store("a", "1", 1);
  shoal_send("you", 3, "add", 3, NULL, 0);
  shoal_timer("x", 1, 1, "x", 1, NULL, 0);
  shoal_reply_text("no reply");
  shoal_fail(p, (uint32_t)n);
  return 0;
}

SHOAL_METHOD(seven) { return 7; }

SHOAL_METHOD(put) {
  split(2);
  int32_t code = shoal_store(args[0], args[1], last);
  if (code < 0) return done(code);
  size_t n;
  char *v = shoal_load(args[0], &n);
  return shoal_reply(v, n);
}

SHOAL_METHOD(putlong) {
  split(2);
  size_t k = (size_t)atol(args[0]), v = (size_t)atol(args[1]);
  char *key = malloc(k), *value = malloc(v);
  memset(key, 'k', k);
  memset(value, 'v', v);
  int32_t code = shoal_put(key, (uint32_t)k, value, (uint32_t)v);
  free(key);
  free(value);
  return done(code);
}

SHOAL_METHOD(get) {
  split(1);
  size_t n;
  char *v = shoal_load(args[0], &n);
  return v ? shoal_reply(v, n) : shoal_fails("absent");
}

SHOAL_METHOD(del) {
  split(1);
  return done(shoal_delete(args[0], (uint32_t)strlen(args[0])));
}

SHOAL_METHOD(scan) {
  split(3);
  char *prefix = strcmp(args[0], "-") ? args[0] : "", *out = malloc(1 << 20), *page = malloc((1 << 20) + 2048);
  static char after[1024];
  size_t n = 0, after_n = strcmp(args[1], "-") ? strlen(args[1]) : 0;
  memcpy(after, args[1], after_n);
  for (long left = atol(args[2]); left > 0;) {
    int32_t got = shoal_scan(prefix, (uint32_t)strlen(prefix), after, (uint32_t)after_n, (uint32_t)left, page,
                             (1 << 20) + 2048);
    if (got < 0) return done(got);
    if (got == 0) break;
    for (char *p = page; p < page + got; left--) {
      uint32_t k, v;
      memcpy(&k, p, 4);
      memcpy(&v, p + 4, 4);
      memcpy(out + n, p + 8, k);
      out[n + k] = '=';
      memcpy(out + n + k + 1, p + 8 + k, v);
      n += k + v + 2;
      out[n - 1] = ';';
      memcpy(after, p + 8, k);
      after_n = k;
      p += 8 + k + v;
    }
  }
  int32_t code = shoal_reply(out, n);
  free(out);
  free(page);
  return code;
}

SHOAL_METHOD(who) {
  char out[4096];
  int32_t n = shoal_agent(out, 1000);
  int32_t (*texts[])(void *, uint32_t) = {shoal_caller, shoal_request, shoal_trace, shoal_method};
  for (int i = 0; i < 4; i++) {
    out[n++] = '\n';
    n += texts[i](out + n, 500);
  }
  n += sprintf(out + n, "\n%lld\n%d\n%lld", shoal_epoch(), shoal_reading(), shoal_now());
  return shoal_reply(out, (size_t)n);
}

SHOAL_METHOD(dice) {
  char b[16];
  int32_t code = shoal_random(b, sizeof b);
  return code < 0 ? done(code) : shoal_reply(b, sizeof b);
}

SHOAL_METHOD(ask) {
  split(3);
  size_t n;
  int32_t code;
  char *reply = shoal_ask(args[0], args[1], args[2], last, &n, &code);
  if (reply) return shoal_reply(reply, n);
  char why[32];
  snprintf(why, sizeof why, "error %d", -code);
  return shoal_reply_text(why);
}

SHOAL_METHOD(tell) {
  split(3);
  return done(shoal_send(args[0], (uint32_t)strlen(args[0]), args[1], (uint32_t)strlen(args[1]), args[2], (uint32_t)last));
}

SHOAL_METHOD(alarm) {
  split(4);
  return done(shoal_timer(args[0], (uint32_t)strlen(args[0]), atoll(args[1]), args[2], (uint32_t)strlen(args[2]),
                          args[3], (uint32_t)last));
}

SHOAL_METHOD(note) {
  split(1);
  return done(shoal_log(args[0], (uint32_t)last));
}

SHOAL_METHOD(count) {
  static int n;
  char text[16];
  sprintf(text, "%d", ++n);
  return shoal_reply_text(text);
}

SHOAL_METHOD(trap) {
  shoal_store("a", "trapped", 7);
  __builtin_trap();
}

SHOAL_METHOD(spin) {
  for (volatile int i = 0;; i++) {
  }
}

// exit0 and abort say something first.
SHOAL_METHOD(exit0) {
  printf("leaving\n");
  fflush(stdout);
  exit(0);
}

SHOAL_METHOD(aborts) {
  fprintf(stderr, "panic: nothing works\nmore of it\n");
  abort();
}

SHOAL_METHOD(prints) {
  printf("one\ntwo");
  fflush(stdout);
  fprintf(stderr, "three\n");
  return 0;
}

SHOAL_METHOD(logflood) {
  static char line[1000];
  memset(line, 'x', sizeof line);
  for (int i = 0; i < 1000; i++) shoal_log(line, sizeof line);
  return 0;
}

// eat takes all the memory there is, and says so; greedy needs more.
static int32_t take_all(void) {
  for (;;) {
    char *volatile p = malloc(1 << 20);
    if (!p) return 1;
    *p = 1;
  }
}

SHOAL_METHOD(eat) { return take_all() ? shoal_fails("no more memory") : 0; }

SHOAL_METHOD(greedy) {
  if (take_all()) abort();
  return 0;
}

static int deeper(int n) {
  volatile char room[1000];
  room[0] = (char)n;
  return n > 0 ? deeper(n + 1) + room[0] : room[0];
}

static int (*volatile down)(int);
static int go_down(int n) { return n > 0 ? down(n - 1) + 1 : 0; }

// deep calls itself as deeply as the payload says, and returns.
SHOAL_METHOD(deep) {
  down = go_down;
  split(1);
  int n = atoi(args[0]);
  return down(n) == n ? 0 : 1;
}

SHOAL_METHOD(recurse) { return deeper(1); }

// nap sleeps for an hour.
SHOAL_METHOD(nap) { return (int32_t)sleep(3600); }

// files looks for some.
SHOAL_METHOD(files) {
  const char *names[] = {"/data", "/out", "/etc/passwd", ".", "/"};
  for (int i = 0; i < 5; i++)
    if (access(names[i], F_OK) == 0 || fopen(names[i], "r")) return shoal_fails(names[i]);
  return getenv("HOME") ? shoal_fails("HOME") : 0;
}

// clock replies WASI's clocks: seconds since 1970, and monotonic nanoseconds.
SHOAL_METHOD(clocks) {
  struct timespec now, up;
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_MONOTONIC, &up);
  char text[64];
  sprintf(text, "%lld %lld", (long long)now.tv_sec, up.tv_sec * 1000000000LL + up.tv_nsec);
  return shoal_reply_text(text);
}

// gas replies what is left before and after some work.
SHOAL_METHOD(gas) {
  char text[64];
  int64_t before = shoal_gas();
  for (volatile int i = 0; i < 10000; i++) {
  }
  sprintf(text, "%lld %lld", before, shoal_gas());
  return shoal_reply_text(text);
}

SHOAL_METHOD(read) {
  split(4);
  const char *path = strcmp(args[1], "-") ? args[1] : "";
  size_t n = (size_t)atol(args[3]);
  char *buf = malloc(n + 1);
  int32_t got = shoal_read(args[0], strlen(args[0]), path, strlen(path), atoll(args[2]), buf, n);
  if (got < 0) {
    sprintf(buf = realloc(buf, 32), "error %d", -got);
    got = (int32_t)strlen(buf);
  }
  int32_t code = shoal_reply(buf, got);
  free(buf);
  return code;
}

SHOAL_METHOD(folder) {
  split(3);
  const char *path = strcmp(args[1], "-") ? args[1] : "", *after = strcmp(args[2], "-") ? args[2] : "";
  char out[4096] = "", *to = out;
  int32_t n = shoal_files(args[0], strlen(args[0]), path, strlen(path), after, strlen(after), NULL, 0);
  if (n < 0) {
    sprintf(out, "error %d", -n);
    return shoal_reply_text(out);
  }
  size_t len;
  char *page = shoal_take(n, shoal_room(), &len);
  for (char *at = page; at < page + len;) {
    uint64_t size;
    uint32_t name;
    memcpy(&size, at, 8);
    memcpy(&name, at + 8, 4);
    to += sprintf(to, size == UINT64_MAX ? "%.*s/;" : "%.*s=%llu;", (int)name, at + 12, (unsigned long long)size);
    at += 12 + name;
  }
  free(page);
  return shoal_reply_text(out);
}

// share does what its payload says with mergeable state: OP NAME FIELD KIND REST.
SHOAL_METHOD(share) {
  split(5);
  static char out[1 << 16], page[1 << 16];
  const char *op = args[0], *name = args[1], *field = strcmp(args[2], "-") ? args[2] : "", *x = args[4];
  uint32_t n = strlen(name), f = strlen(field), l = *x ? (uint32_t)last : 0;
  int32_t kind = atoi(args[3]), code = -1;
  char *to = out;
  *to = 0;
  if (!strcmp(op, "add")) code = shoal_state_add(name, n, field, f, atoll(x), kind);
  if (!strcmp(op, "set")) code = shoal_state_set(name, n, field, f, x, l);
  if (!strcmp(op, "insert")) code = shoal_state_insert(name, n, field, f, x, l, kind);
  if (!strcmp(op, "remove")) code = shoal_state_remove(name, n, field, f, x, l);
  if (!strcmp(op, "clear")) code = shoal_state_clear(name, n, field, f);
  if (!strcmp(op, "has")) to += sprintf(to, "%d", code = shoal_state_has(name, n, field, f, x, l));
  if (!strcmp(op, "get")) {
    code = shoal_state_get(name, n, field, f, kind, page, sizeof page);
    if (code > 0 && *page == SHOAL_REGISTER)
      to += sprintf(to, "%d %.*s", *page, (int)code - 4, page + 4);
    else if (code > 0)
      to += sprintf(to, "%d %lld", *page, shoal_number(name, field));
  }
  if (!strcmp(op, "items")) {
    static char after[4096];
    uint32_t after_n = 0;
    for (int first = 1; (code = shoal_state_items(name, n, field, f, after, after_n, first, atoi(x), page, sizeof page)) > 0; first = 0)
      for (char *at = page; at < page + code; at += 4 + after_n) {
        memcpy(&after_n, at, 4);
        memcpy(after, at + 4, after_n);
        to += sprintf(to, "%.*s;", (int)after_n, at + 4);
      }
  }
  if (!strcmp(op, "fields")) {
    static char after[512];
    uint32_t h[3] = {0, 0, 0};
    while ((code = shoal_state_fields(name, n, after, h[1], atoi(x), page, sizeof page)) > 0)
      for (char *at = page; at < page + code; at += 12 + h[1] + h[2]) {
        memcpy(h, at, 12);
        memcpy(after, at + 12, h[1]);
        int64_t v = 0;
        if (h[0] == SHOAL_REGISTER)
          to += sprintf(to, "%.*s:%d=%.*s;", (int)h[1], at + 12, (int)h[0], (int)h[2], at + 12 + h[1]);
        else
          to += sprintf(to, "%.*s:%d=%lld;", (int)h[1], at + 12, (int)h[0], *(long long *)memcpy(&v, at + 12 + h[1], 8));
      }
  }
  if (code < 0) sprintf(out, "error %d", -code);
  return shoal_reply_text(out);
}

// raw makes one host call with the numbers of the payload, and replies what it returned: the fuzz test's.
SHOAL_METHOD(raw) {
  struct {
    uint32_t which, a[10];
    int64_t delay;
  } in;
  if (shoal_input(&in, sizeof in) != sizeof in) return 1;
  uint32_t *a = in.a;
#define P(i) ((void *)(uintptr_t)a[i])
  int64_t r = 0;
  switch (in.which % 32) {
    case 0: r = shoal_input(P(0), a[1]); break;
    case 1: r = shoal_rest(P(0), a[1]); break;
    case 2: r = shoal_error(P(0), a[1]); break;
    case 3: r = shoal_agent(P(0), a[1]); break;
    case 4: r = shoal_caller(P(0), a[1]); break;
    case 5: r = shoal_request(P(0), a[1]); break;
    case 6: r = shoal_trace(P(0), a[1]); break;
    case 7: r = shoal_method(P(0), a[1]); break;
    case 8: r = shoal_output(P(0), a[1]); break;
    case 9: r = shoal_fail(P(0), a[1]); break;
    case 10: r = shoal_get(P(0), a[1], P(2), a[3]); break;
    case 11: r = shoal_put(P(0), a[1], P(2), a[3]); break;
    case 12: r = shoal_delete(P(0), a[1]); break;
    case 13: r = shoal_scan(P(0), a[1], P(2), a[3], a[4], P(5), a[6]); break;
    case 14: r = shoal_call(P(0), a[1], P(2), a[3], P(4), a[5], P(6), a[7]); break;
    case 15: r = shoal_send(P(0), a[1], P(2), a[3], P(4), a[5]); break;
    case 16: r = shoal_timer(P(0), a[1], in.delay, P(2), a[3], P(4), a[5]); break;
    case 17: r = shoal_log(P(0), a[1]); break;
    case 18: r = shoal_random(P(0), a[1]); break;
    case 19: r = shoal_now() + shoal_epoch() + shoal_gas(); break;
    case 20: r = shoal_reading(); break;
    case 21: r = shoal_read(P(0), a[1], P(2), a[3], in.delay, P(5), a[6]); break;
    case 23: r = shoal_state_add(P(0), a[1], P(2), a[3], in.delay, a[4]); break;
    case 24: r = shoal_state_set(P(0), a[1], P(2), a[3], P(4), a[5]); break;
    case 25: r = shoal_state_insert(P(0), a[1], P(2), a[3], P(4), a[5], a[6]); break;
    case 26: r = shoal_state_remove(P(0), a[1], P(2), a[3], P(4), a[5]); break;
    case 27: r = shoal_state_clear(P(0), a[1], P(2), a[3]); break;
    case 28: r = shoal_state_get(P(0), a[1], P(2), a[3], a[4], P(5), a[6]); break;
    case 29: r = shoal_state_has(P(0), a[1], P(2), a[3], P(4), a[5]); break;
    case 30: r = shoal_state_items(P(0), a[1], P(2), a[3], P(4), a[5], a[6], a[7], P(8), a[9]); break;
    case 31: r = shoal_state_fields(P(0), a[1], P(2), a[3], a[4], P(5), a[6]); break;
    case 22: r = shoal_files(P(0), a[1], P(2), a[3], P(4), a[5], P(6), a[7]); break;
  }
  // Whatever the call wrote, the stack of this function may be gone: it replies from a register.
  return r < -100 ? 1 : 0;
}

// early calls the host from a constructor.
static int32_t early;
__attribute__((constructor)) static void construct(void) {
  early = shoal_store("early", "1", 1);
  if (early < 0 && shoal_now() < 0) puts("constructed");
  fflush(stdout);
}
SHOAL_METHOD(constructed) { return done(early); }

__attribute__((export_name("migrate"))) int migrate(void) { return shoal_reply_text("migrated"); }
__attribute__((export_name("_hidden"))) int hidden(void) { return 0; }
__attribute__((export_name("adds"))) int adds(int a) { return a + 1; }

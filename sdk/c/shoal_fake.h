/* shoal_fake.h: the host calls of shoal.h over memory, to test an agent natively. shoal.h includes it when it is
 * not built for wasm32; a test includes the agent's source and calls its methods:
 *
 *   #include "agent.c"
 *   int main(void) {
 *     assert(shoal_fake_turn(shoal_method_add, "5") == 0);
 *     assert(!strcmp(shoal_fake.reply, "5"));
 *   }
 *
 * A turn that fails leaves the state as it was. Other agents are a function that the test sets. Apache-2.0. */
#ifndef SHOAL_FAKE_H
#define SHOAL_FAKE_H

#include <stdio.h>

typedef struct {
  char *p;
  uint32_t n;
} shoal_fake_bytes;

typedef struct {
  shoal_fake_bytes key, value;
} shoal_fake_pair;

/* An object of mergeable state. */
typedef struct {
  shoal_fake_bytes name, field, value;
  shoal_fake_bytes *items; /* in order */
  uint32_t count;
  int32_t kind;
  int64_t number;
} shoal_fake_object;

typedef struct {
  shoal_fake_object *list; /* in order of names and fields */
  uint32_t count;
} shoal_fake_state;

/* What a test sets and looks at. */
static struct {
  const char *caller; /* of the turns to come */
  int64_t now;        /* nanoseconds since 1970 */
  int reading;        /* 1: turns may only read */
  /* Answers shoal_call: the reply's length, which it wrote into *reply from malloc, or an error number. */
  int32_t (*call)(const char *to, const char *method, const char *payload, char **reply);
  /* The content of a file of a dataset and its length, NULL if there is none; for shoal_read and shoal_files, of files alone. */
  const char *(*data)(const char *cid, const char *path, size_t *n);

  char reply[(1 << 20) + 1]; /* of the last turn, with a NUL behind it */
  uint32_t reply_n;
  char failure[4097];  /* of the last turn, "" if it did not fail */
  char effects[65536]; /* of the last turn, a line each: "send TO METHOD PAYLOAD", "timer NAME NS METHOD PAYLOAD", "log LINE" */

  /* private */
  const char *payload;
  uint32_t payload_n, failed;
  shoal_fake_pair *pairs;
  uint32_t count;
  shoal_fake_state shared;
  shoal_fake_bytes rest;
  char why[256];
  uint64_t dice;
} shoal_fake = {.caller = "test", .now = 1893456000000000000};

static shoal_fake_bytes shoal_fake_copy(const void *p, uint32_t n) {
  shoal_fake_bytes b = {malloc(n + 1), n};
  if (!b.p) abort();
  if (n) memcpy(b.p, p, n);
  b.p[n] = 0;
  return b;
}

static int shoal_fake_order(shoal_fake_bytes a, shoal_fake_bytes b) {
  int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
  return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* The first pair that is not before key. */
static uint32_t shoal_fake_find(shoal_fake_bytes key) {
  uint32_t i = 0;
  while (i < shoal_fake.count && shoal_fake_order(shoal_fake.pairs[i].key, key) < 0) i++;
  return i;
}

static int shoal_fake_has(uint32_t i, shoal_fake_bytes key) {
  return i < shoal_fake.count && shoal_fake_order(shoal_fake.pairs[i].key, key) == 0;
}

static int32_t shoal_fake_refuse(int32_t code, const char *why) {
  snprintf(shoal_fake.why, sizeof shoal_fake.why, "%s", why);
  return code;
}

static int32_t shoal_fake_give(const void *p, uint32_t n, void *buf, uint32_t cap) {
  if (n <= cap) {
    if (n) memcpy(buf, p, n);
  } else {
    free(shoal_fake.rest.p);
    shoal_fake.rest = shoal_fake_copy(p, n);
  }
  return (int32_t)n;
}

static int32_t shoal_fake_text(const char *s, void *buf, uint32_t cap) {
  return shoal_fake_give(s, (uint32_t)strlen(s), buf, cap);
}

static int32_t shoal_fake_check(uint32_t key_n, uint32_t value_n, int staging) {
  if (staging && shoal_fake.reading) return shoal_fake_refuse(SHOAL_EREFUSED, "the turn reads only");
  if (key_n == 0) return shoal_fake_refuse(SHOAL_EINVALID, "key: empty");
  if (key_n > SHOAL_MAX_KEY || value_n > SHOAL_MAX_VALUE) return shoal_fake_refuse(SHOAL_EINVALID, "too long");
  return 0;
}

static void shoal_fake_note(const char *kind, const char *a, uint32_t a_n, const char *ns, const void *b, uint32_t b_n,
                            const void *c, uint32_t c_n) {
  size_t n = strlen(shoal_fake.effects);
  snprintf(shoal_fake.effects + n, sizeof shoal_fake.effects - n, "%s %.*s%s%s%.*s%s%.*s\n", kind, (int)a_n, a, ns,
           b_n ? " " : "", (int)b_n, (const char *)b, c_n ? " " : "", (int)c_n, (const char *)c);
}

static int32_t shoal_input(void *buf, uint32_t cap) {
  return shoal_fake_give(shoal_fake.payload, shoal_fake.payload_n, buf, cap);
}
static int32_t shoal_rest(void *buf, uint32_t cap) {
  if (shoal_fake.rest.n <= cap && shoal_fake.rest.n) memcpy(buf, shoal_fake.rest.p, shoal_fake.rest.n);
  return (int32_t)shoal_fake.rest.n;
}
static int32_t shoal_error(void *buf, uint32_t cap) { return shoal_fake_text(shoal_fake.why, buf, cap); }
static int32_t shoal_agent(void *buf, uint32_t cap) { return shoal_fake_text("self", buf, cap); }
static int32_t shoal_caller(void *buf, uint32_t cap) { return shoal_fake_text(shoal_fake.caller, buf, cap); }
static int32_t shoal_request(void *buf, uint32_t cap) { return shoal_fake_text("request", buf, cap); }
static int32_t shoal_trace(void *buf, uint32_t cap) { return shoal_fake_text("trace", buf, cap); }
static int32_t shoal_method(void *buf, uint32_t cap) { return shoal_fake_text("method", buf, cap); }

static int32_t shoal_output(const void *p, uint32_t n) {
  if (n > SHOAL_MAX_PAYLOAD) abort(); /* a node ends the turn */
  if (n) memcpy(shoal_fake.reply, p, n);
  shoal_fake.reply[n] = 0;
  shoal_fake.reply_n = n;
  return 0;
}

static int32_t shoal_fail(const void *p, uint32_t n) {
  snprintf(shoal_fake.failure, sizeof shoal_fake.failure, "%.*s", (int)n, (const char *)p);
  shoal_fake.failed = 1;
  return 0;
}

static int32_t shoal_get(const void *key, uint32_t key_n, void *buf, uint32_t cap) {
  int32_t code = shoal_fake_check(key_n, 0, 0);
  if (code < 0) return code;
  shoal_fake_bytes k = {(char *)key, key_n};
  uint32_t i = shoal_fake_find(k);
  if (!shoal_fake_has(i, k)) return shoal_fake_refuse(SHOAL_ENOTFOUND, "there is no such key");
  return shoal_fake_give(shoal_fake.pairs[i].value.p, shoal_fake.pairs[i].value.n, buf, cap);
}

static int32_t shoal_delete(const void *key, uint32_t key_n) {
  int32_t code = shoal_fake_check(key_n, 0, 1);
  if (code < 0) return code;
  shoal_fake_bytes k = {(char *)key, key_n};
  uint32_t i = shoal_fake_find(k);
  if (!shoal_fake_has(i, k)) return 0;
  free(shoal_fake.pairs[i].key.p);
  free(shoal_fake.pairs[i].value.p);
  memmove(shoal_fake.pairs + i, shoal_fake.pairs + i + 1, (--shoal_fake.count - i) * sizeof *shoal_fake.pairs);
  return 0;
}

static int32_t shoal_put(const void *key, uint32_t key_n, const void *value, uint32_t value_n) {
  int32_t code = shoal_fake_check(key_n, value_n, 1);
  if (code < 0) return code;
  shoal_delete(key, key_n);
  shoal_fake_pair pair = {shoal_fake_copy(key, key_n), shoal_fake_copy(value, value_n)};
  uint32_t i = shoal_fake_find(pair.key);
  shoal_fake.pairs = realloc(shoal_fake.pairs, (shoal_fake.count + 1) * sizeof pair);
  if (!shoal_fake.pairs) abort();
  memmove(shoal_fake.pairs + i + 1, shoal_fake.pairs + i, (shoal_fake.count++ - i) * sizeof pair);
  shoal_fake.pairs[i] = pair;
  return 0;
}

static int32_t shoal_scan(const void *prefix, uint32_t prefix_n, const void *after, uint32_t after_n, uint32_t limit,
                          void *buf, uint32_t cap) {
  shoal_fake_bytes start = {(char *)after, after_n};
  char *page = malloc((1 << 20) + 2048);
  uint32_t n = 0;
  if (!page) abort();
  for (uint32_t i = 0; i < shoal_fake.count && limit > 0; i++) {
    shoal_fake_bytes k = shoal_fake.pairs[i].key, v = shoal_fake.pairs[i].value;
    if (k.n < prefix_n || memcmp(k.p, prefix, prefix_n) || (after_n && shoal_fake_order(k, start) <= 0)) continue;
    if (n && n + 8 + k.n + v.n > 1 << 20) break;
    memcpy(page + n, &k.n, 4);
    memcpy(page + n + 4, &v.n, 4);
    memcpy(page + n + 8, k.p, k.n);
    memcpy(page + n + 8 + k.n, v.p, v.n);
    n += 8 + k.n + v.n;
    limit--;
  }
  int32_t code = shoal_fake_give(page, n, buf, cap);
  free(page);
  return code;
}

static int32_t shoal_call(const void *to, uint32_t to_n, const void *method, uint32_t method_n, const void *payload,
                          uint32_t payload_n, void *buf, uint32_t cap) {
  if (!shoal_fake.call) return shoal_fake_refuse(SHOAL_ENOTFOUND, "there is no other agent");
  shoal_fake_bytes t = shoal_fake_copy(to, to_n), m = shoal_fake_copy(method, method_n), p = shoal_fake_copy(payload, payload_n);
  char *reply = NULL;
  int32_t n = shoal_fake.call(t.p, m.p, p.p, &reply);
  if (n >= 0) n = shoal_fake_give(reply, (uint32_t)n, buf, cap);
  else shoal_fake_refuse(n, "the test's answer");
  free(t.p);
  free(m.p);
  free(p.p);
  free(reply);
  return n;
}

static const char *shoal_fake_file(const void *cid, uint32_t cid_n, const void *path, uint32_t path_n, size_t *n) {
  if (!shoal_fake.data) return NULL;
  shoal_fake_bytes c = shoal_fake_copy(cid, cid_n), p = shoal_fake_copy(path, path_n);
  const char *all = shoal_fake.data(c.p, p.p, n);
  free(c.p);
  free(p.p);
  return all;
}

static int32_t shoal_read(const void *cid, uint32_t cid_n, const void *path, uint32_t path_n, int64_t offset, void *buf,
                          uint32_t cap) {
  size_t n = 0;
  if (cap > SHOAL_MAX_READ) return shoal_fake_refuse(SHOAL_EINVALID, "too long");
  const char *all = shoal_fake_file(cid, cid_n, path, path_n, &n);
  if (!all) return shoal_fake_refuse(SHOAL_ENOTFOUND, "there is no such file");
  if (offset < 0 || (uint64_t)offset > n) return shoal_fake_refuse(SHOAL_EINVALID, "beyond the end");
  if (n - (size_t)offset < cap) cap = (uint32_t)(n - (size_t)offset);
  if (cap) memcpy(buf, all + offset, cap);
  return (int32_t)cap;
}

static int32_t shoal_files(const void *cid, uint32_t cid_n, const void *path, uint32_t path_n, const void *after,
                           uint32_t after_n, void *buf, uint32_t cap) {
  size_t n = 0;
  char entry[12] = "";
  (void)after, (void)after_n;
  if (!shoal_fake_file(cid, cid_n, path, path_n, &n)) return shoal_fake_refuse(SHOAL_ENOTFOUND, "there is no such file");
  uint64_t size = n;
  memcpy(entry, &size, 8);
  return shoal_fake_give(entry, 12, buf, cap);
}

static int32_t shoal_send(const void *to, uint32_t to_n, const void *method, uint32_t method_n, const void *payload,
                          uint32_t payload_n) {
  if (shoal_fake.reading) return shoal_fake_refuse(SHOAL_EREFUSED, "the turn reads only");
  shoal_fake_note("send", to, to_n, "", method, method_n, payload, payload_n);
  return 0;
}

static int32_t shoal_timer(const void *name, uint32_t name_n, int64_t nanoseconds, const void *method, uint32_t method_n,
                           const void *payload, uint32_t payload_n) {
  if (shoal_fake.reading) return shoal_fake_refuse(SHOAL_EREFUSED, "the turn reads only");
  char ns[32];
  snprintf(ns, sizeof ns, " %lld", (long long)nanoseconds);
  shoal_fake_note("timer", name, name_n, ns, method, method_n, payload, payload_n);
  return 0;
}

static int32_t shoal_log(const void *p, uint32_t n) {
  shoal_fake_note("log", p, n, "", NULL, 0, NULL, 0);
  return 0;
}

/* Mergeable state: of one node. */
static shoal_fake_object *shoal_fake_object_of(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int make) {
  shoal_fake_bytes n = {(char *)name, name_n}, f = {(char *)field, field_n};
  shoal_fake_state *s = &shoal_fake.shared;
  uint32_t i = 0;
  for (; i < s->count; i++) {
    int c = shoal_fake_order(s->list[i].name, n);
    if (!c) c = shoal_fake_order(s->list[i].field, f);
    if (!c) return s->list + i;
    if (c > 0) break;
  }
  if (!make) return NULL;
  s->list = realloc(s->list, (s->count + 1) * sizeof *s->list);
  if (!s->list) abort();
  memmove(s->list + i + 1, s->list + i, (s->count++ - i) * sizeof *s->list);
  memset(s->list + i, 0, sizeof *s->list);
  s->list[i].name = shoal_fake_copy(name, name_n);
  s->list[i].field = shoal_fake_copy(field, field_n);
  return s->list + i;
}

/* The object that a change is of; it is made if there is none, as kind or else as a. NULL: *code says why. */
static shoal_fake_object *shoal_fake_change(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int32_t kind,
                                            int32_t a, int32_t b, int32_t *code) {
  *code = 0;
  if (shoal_fake.reading) *code = shoal_fake_refuse(SHOAL_EREFUSED, "the turn reads only");
  else if (!name_n || name_n > 512 || field_n > 512) *code = shoal_fake_refuse(SHOAL_EINVALID, "names have 1 to 512 bytes");
  if (*code) return NULL;
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  if (!o && kind && kind != a && kind != b) {
    *code = shoal_fake_refuse(SHOAL_EINVALID, "that cannot be done with it");
  } else if (o && ((kind && kind != o->kind) || (o->kind != a && o->kind != b))) {
    *code = shoal_fake_refuse(SHOAL_EEXISTS, "it is of another kind");
  } else if (!o) {
    o = shoal_fake_object_of(name, name_n, field, field_n, 1);
    o->kind = kind ? kind : a;
  }
  return *code ? NULL : o;
}

static void shoal_fake_forget(shoal_fake_object *o) {
  shoal_fake_state *s = &shoal_fake.shared;
  for (uint32_t i = 0; i < o->count; i++) free(o->items[i].p);
  free(o->items), free(o->name.p), free(o->field.p), free(o->value.p);
  memmove(o, o + 1, (size_t)(s->list + --s->count - o) * sizeof *o);
}

static int32_t shoal_state_add(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int64_t by, int32_t kind) {
  int32_t code;
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  if (by < 0 && (o ? o->kind : kind) != SHOAL_TALLY) return shoal_fake_refuse(SHOAL_EINVALID, "a counter only grows");
  if ((o = shoal_fake_change(name, name_n, field, field_n, kind, SHOAL_COUNTER, SHOAL_TALLY, &code))) o->number += by;
  return code;
}

static int32_t shoal_state_set(const void *name, uint32_t name_n, const void *field, uint32_t field_n, const void *value,
                               uint32_t value_n) {
  int32_t code;
  if (value_n > 1 << 16) return shoal_fake_refuse(SHOAL_EINVALID, "too long");
  shoal_fake_object *o = shoal_fake_change(name, name_n, field, field_n, 0, SHOAL_REGISTER, SHOAL_REGISTER, &code);
  if (!o) return code;
  free(o->value.p);
  o->value = shoal_fake_copy(value, value_n);
  return 0;
}

/* Where an element is, or would be. */
static uint32_t shoal_fake_item(shoal_fake_object *o, const void *element, uint32_t n, int *has) {
  shoal_fake_bytes e = {(char *)element, n};
  uint32_t i = 0;
  while (i < o->count && shoal_fake_order(o->items[i], e) < 0) i++;
  *has = i < o->count && !shoal_fake_order(o->items[i], e);
  return i;
}

static int32_t shoal_state_insert(const void *name, uint32_t name_n, const void *field, uint32_t field_n, const void *element,
                                  uint32_t element_n, int32_t kind) {
  int32_t code;
  int has;
  if (element_n > 4096) return shoal_fake_refuse(SHOAL_EINVALID, "too long");
  shoal_fake_object *o = shoal_fake_change(name, name_n, field, field_n, kind, SHOAL_SET, SHOAL_GROWSET, &code);
  if (!o) return code;
  uint32_t i = shoal_fake_item(o, element, element_n, &has);
  if (has) return 0;
  o->items = realloc(o->items, (o->count + 1) * sizeof *o->items);
  if (!o->items) abort();
  memmove(o->items + i + 1, o->items + i, (o->count++ - i) * sizeof *o->items);
  o->items[i] = shoal_fake_copy(element, element_n);
  return 0;
}

static int32_t shoal_state_remove(const void *name, uint32_t name_n, const void *field, uint32_t field_n, const void *element,
                                  uint32_t element_n) {
  int32_t code;
  int has;
  shoal_fake_object *o = shoal_fake_change(name, name_n, field, field_n, 0, SHOAL_SET, SHOAL_SET, &code);
  if (!o) return code;
  uint32_t i = shoal_fake_item(o, element, element_n, &has);
  if (has) {
    free(o->items[i].p);
    memmove(o->items + i, o->items + i + 1, (--o->count - i) * sizeof *o->items);
  }
  if (!o->count) shoal_fake_forget(o);
  return 0;
}

static int32_t shoal_state_clear(const void *name, uint32_t name_n, const void *field, uint32_t field_n) {
  if (shoal_fake.reading) return shoal_fake_refuse(SHOAL_EREFUSED, "the turn reads only");
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  if (o && (o->kind == SHOAL_COUNTER || o->kind == SHOAL_GROWSET)) return shoal_fake_refuse(SHOAL_EINVALID, "it only grows");
  if (o) shoal_fake_forget(o);
  return 0;
}

/* The value as the host writes it, of which there are n bytes: number has room for it if it is one. */
static const void *shoal_fake_is(shoal_fake_object *o, int64_t *number, uint32_t *n) {
  *number = o->kind == SHOAL_SET || o->kind == SHOAL_GROWSET ? (int64_t)o->count : o->number;
  *n = o->kind == SHOAL_REGISTER ? o->value.n : 8;
  return o->kind == SHOAL_REGISTER ? (const void *)o->value.p : number;
}

static int32_t shoal_state_get(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int32_t kind, void *buf,
                               uint32_t cap) {
  static char out[4 + (1 << 16)];
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  if (!o || (kind && kind != o->kind)) return shoal_fake_refuse(SHOAL_ENOTFOUND, "nothing of this name is known here");
  int64_t number;
  uint32_t n;
  const void *v = shoal_fake_is(o, &number, &n);
  memcpy(out, &o->kind, 4);
  if (n) memcpy(out + 4, v, n);
  return shoal_fake_give(out, n + 4, buf, cap);
}

static int32_t shoal_state_has(const void *name, uint32_t name_n, const void *field, uint32_t field_n, const void *element,
                               uint32_t element_n) {
  int has = 0;
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  if (o) shoal_fake_item(o, element, element_n, &has);
  return has;
}

/* Pages have one entry each: a program must go on anyhow. */
static int32_t shoal_state_items(const void *name, uint32_t name_n, const void *field, uint32_t field_n, const void *after,
                                 uint32_t after_n, int32_t first, uint32_t limit, void *buf, uint32_t cap) {
  static char out[4 + 4096];
  int has = 0;
  shoal_fake_object *o = shoal_fake_object_of(name, name_n, field, field_n, 0);
  uint32_t i = 0;
  if (o && !first) {
    i = shoal_fake_item(o, after, after_n, &has);
    i += (uint32_t)has;
  }
  if (!o || i >= o->count || !limit) return 0;
  memcpy(out, &o->items[i].n, 4);
  memcpy(out + 4, o->items[i].p, o->items[i].n);
  return shoal_fake_give(out, 4 + o->items[i].n, buf, cap);
}

static int32_t shoal_state_fields(const void *name, uint32_t name_n, const void *after, uint32_t after_n, uint32_t limit, void *buf,
                                  uint32_t cap) {
  static char out[12 + 512 + (1 << 16)];
  shoal_fake_bytes n = {(char *)name, name_n}, f = {(char *)after, after_n};
  for (uint32_t i = 0; i < shoal_fake.shared.count && limit; i++) {
    shoal_fake_object *o = shoal_fake.shared.list + i;
    if (shoal_fake_order(o->name, n) || shoal_fake_order(o->field, f) <= 0) continue;
    int64_t number;
    uint32_t l;
    const void *v = shoal_fake_is(o, &number, &l);
    memcpy(out, &o->kind, 4);
    memcpy(out + 4, &o->field.n, 4);
    memcpy(out + 8, &l, 4);
    memcpy(out + 12, o->field.p, o->field.n);
    if (l) memcpy(out + 12 + o->field.n, v, l);
    return shoal_fake_give(out, 12 + o->field.n + l, buf, cap);
  }
  return 0;
}

static shoal_fake_state shoal_fake_state_copy(shoal_fake_state s) {
  shoal_fake_state c = {calloc(s.count + 1, sizeof *s.list), s.count};
  if (!c.list) abort();
  for (uint32_t i = 0; i < s.count; i++) {
    shoal_fake_object *o = s.list + i, *p = c.list + i;
    *p = *o;
    p->name = shoal_fake_copy(o->name.p, o->name.n);
    p->field = shoal_fake_copy(o->field.p, o->field.n);
    p->value = shoal_fake_copy(o->value.p, o->value.n);
    if (!(p->items = calloc(o->count + 1, sizeof *p->items))) abort();
    for (uint32_t j = 0; j < o->count; j++) p->items[j] = shoal_fake_copy(o->items[j].p, o->items[j].n);
  }
  return c;
}

static int32_t shoal_random(void *buf, uint32_t n) { /* SplitMix64, the same in each run */
  for (uint32_t i = 0; i < n; i++) {
    uint64_t z = shoal_fake.dice += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    ((char *)buf)[i] = (char)(z >> 56);
  }
  return 0;
}
static int64_t shoal_now(void) { return shoal_fake.now; }
static int64_t shoal_epoch(void) { return 1; }
static int64_t shoal_gas(void) { return 1000000000; }
static int32_t shoal_reading(void) { return shoal_fake.reading; }

/* Runs a method as a turn with this payload. 0: it went well. */
static __attribute__((unused)) int32_t shoal_fake_turn_n(int32_t (*method)(void), const void *payload, uint32_t n) {
  shoal_fake_pair *was = calloc(shoal_fake.count + 1, sizeof *was);
  uint32_t count = shoal_fake.count;
  shoal_fake_state shared = shoal_fake_state_copy(shoal_fake.shared);
  if (!was) abort();
  for (uint32_t i = 0; i < count; i++) {
    was[i].key = shoal_fake_copy(shoal_fake.pairs[i].key.p, shoal_fake.pairs[i].key.n);
    was[i].value = shoal_fake_copy(shoal_fake.pairs[i].value.p, shoal_fake.pairs[i].value.n);
  }
  shoal_fake.payload = payload;
  shoal_fake.payload_n = n;
  shoal_fake.failed = shoal_fake.reply_n = 0;
  shoal_fake.reply[0] = shoal_fake.failure[0] = shoal_fake.effects[0] = shoal_fake.why[0] = 0;
  int32_t code = method();
  shoal_fake_pair *drop = was;
  uint32_t drop_count = count;
  if (code || shoal_fake.failed) {
    if (!shoal_fake.failed) snprintf(shoal_fake.failure, sizeof shoal_fake.failure, "it returned %d", code);
    drop = shoal_fake.pairs;
    drop_count = shoal_fake.count;
    shoal_fake.pairs = was;
    shoal_fake.count = count;
    shoal_fake_state made = shoal_fake.shared;
    shoal_fake.shared = shared;
    shared = made;
    shoal_fake.reply_n = 0;
    shoal_fake.reply[0] = shoal_fake.effects[0] = 0;
    code = 1;
  }
  for (uint32_t i = 0; i < shared.count; i++) {
    for (uint32_t j = 0; j < shared.list[i].count; j++) free(shared.list[i].items[j].p);
    free(shared.list[i].items), free(shared.list[i].name.p), free(shared.list[i].field.p), free(shared.list[i].value.p);
  }
  free(shared.list);
  for (uint32_t i = 0; i < drop_count; i++) {
    free(drop[i].key.p);
    free(drop[i].value.p);
  }
  free(drop);
  return code;
}

static __attribute__((unused)) int32_t shoal_fake_turn(int32_t (*method)(void), const char *payload) {
  return shoal_fake_turn_n(method, payload, (uint32_t)strlen(payload));
}

#endif

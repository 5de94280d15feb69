/* shoal.h: the host calls of a Shoal agent, for C. One header, nothing to link.
 *
 * docs/abi.md specifies the calls. Build an agent as a reactor:
 *
 *   clang --target=wasm32-wasi -mexec-model=reactor -O2 -o agent.wasm agent.c
 *
 * A method is a function without parameters. It returns 0, or fails the turn:
 *
 *   SHOAL_METHOD(greet) {
 *     size_t n;
 *     char *name = shoal_payload(&n);
 *     return shoal_reply(name, n);
 *   }
 *
 * Built for another target than wasm32, it includes shoal_fake.h, which has the host calls over memory, so that
 * a test can run methods without a fabric.
 *
 * Apache-2.0. */
#ifndef SHOAL_H
#define SHOAL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What a host call returns below zero; shoal_error says more. */
enum {
  SHOAL_EINVALID = -1,      /* too long, or malformed */
  SHOAL_ENOTFOUND = -2,     /* no such key, agent, method or file */
  SHOAL_EREFUSED = -3,      /* the turn reads only, or a call would come back to an agent that waits */
  SHOAL_ETIMEOUT = -4,      /* shoal_call: unknown whether it was processed */
  SHOAL_ECANCELED = -5,     /* likewise */
  SHOAL_EUNAVAILABLE = -6,  /* likewise */
  SHOAL_EOVERLOADED = -7,   /* shoal_call: try later */
  SHOAL_EFULL = -8,         /* the agent keeps as much as it may */
  SHOAL_ECORRUPT = -9,
  SHOAL_EEXISTS = -10,
  SHOAL_EFAILED = -11,      /* shoal_call: the other program failed */
  SHOAL_EINTERNAL = -64,
  SHOAL_EFAULT = -65,       /* a pointer or length outside the module's memory */
  SHOAL_ENOTURN = -66       /* outside a turn, as in a constructor */
};

enum {
  SHOAL_MAX_KEY = 1 << 10,
  SHOAL_MAX_VALUE = 1 << 20,
  SHOAL_MAX_PAYLOAD = 1 << 20,
  SHOAL_MAX_READ = 1 << 20
};

#ifdef __wasm__
#define SHOAL_HOST(name) __attribute__((import_module("shoal"), import_name(#name))) extern
#define SHOAL_METHOD(name) __attribute__((export_name(#name))) int32_t shoal_method_##name(void)
#else
#define SHOAL_HOST(name) static __attribute__((unused))
#define SHOAL_METHOD(name) int32_t shoal_method_##name(void)
#endif

/* Calls that give bytes take a buffer and return how many bytes there are. If they are more than cap, nothing
 * was written, and shoal_rest gives them. */
SHOAL_HOST(input) int32_t shoal_input(void *buf, uint32_t cap);
SHOAL_HOST(rest) int32_t shoal_rest(void *buf, uint32_t cap);
SHOAL_HOST(error) int32_t shoal_error(void *buf, uint32_t cap);
SHOAL_HOST(agent) int32_t shoal_agent(void *buf, uint32_t cap);     /* the agent's own key, as text */
SHOAL_HOST(caller) int32_t shoal_caller(void *buf, uint32_t cap);   /* an agent's key, a peer's ID, or "timer" */
SHOAL_HOST(request) int32_t shoal_request(void *buf, uint32_t cap); /* the same for each try of a request */
SHOAL_HOST(trace) int32_t shoal_trace(void *buf, uint32_t cap);
SHOAL_HOST(method) int32_t shoal_method(void *buf, uint32_t cap);

SHOAL_HOST(output) int32_t shoal_output(const void *p, uint32_t n); /* the reply; the last one counts */
SHOAL_HOST(fail) int32_t shoal_fail(const void *p, uint32_t n);     /* ends the turn's effects; its text is for the caller */

SHOAL_HOST(get) int32_t shoal_get(const void *key, uint32_t key_n, void *buf, uint32_t cap);
SHOAL_HOST(put) int32_t shoal_put(const void *key, uint32_t key_n, const void *value, uint32_t value_n);
SHOAL_HOST(delete) int32_t shoal_delete(const void *key, uint32_t key_n);
/* Pairs whose key begins with prefix and comes after another, in order, at most limit and about 1 MiB of
 * them, each as two little-endian uint32 with the lengths, the key, and the value. None: there are no more. */
SHOAL_HOST(scan) int32_t shoal_scan(const void *prefix, uint32_t prefix_n, const void *after, uint32_t after_n,
                                    uint32_t limit, void *buf, uint32_t cap);

SHOAL_HOST(call) int32_t shoal_call(const void *to, uint32_t to_n, const void *method, uint32_t method_n,
                                    const void *payload, uint32_t payload_n, void *buf, uint32_t cap);
SHOAL_HOST(send) int32_t shoal_send(const void *to, uint32_t to_n, const void *method, uint32_t method_n,
                                    const void *payload, uint32_t payload_n);
/* Fills buf with bytes of a file of a dataset, from offset on: cap of them, which is 1 MiB at most, or fewer at its
 * end. path is empty for a dataset that is one file. Blocks that are not on this node come from peers meanwhile. */
SHOAL_HOST(read) int32_t shoal_read(const void *cid, uint32_t cid_n, const void *path, uint32_t path_n, int64_t offset,
                                    void *buf, uint32_t cap);
/* The entries of a folder of a dataset, in order of names that come after another, about 1 MiB of them: each as a
 * little-endian uint64, the bytes of a file or UINT64_MAX for a folder, a uint32 with the name's length, and the name.
 * Of a file, one entry without a name. */
SHOAL_HOST(files) int32_t shoal_files(const void *cid, uint32_t cid_n, const void *path, uint32_t path_n, const void *after,
                                      uint32_t after_n, void *buf, uint32_t cap);
/* Below zero nanoseconds clears the timer. */
SHOAL_HOST(timer) int32_t shoal_timer(const void *name, uint32_t name_n, int64_t nanoseconds, const void *method,
                                      uint32_t method_n, const void *payload, uint32_t payload_n);

/* The fabric's mergeable state, docs/state.md: objects that have a name, and, in a map, a field, which is else empty. What a
 * turn changes counts if the turn goes well, and is then on the node's disk before the reply leaves. A turn that is
 * tried again after a failure of the node changes it again. kind 0: as the object is, or counter or set. */
enum { SHOAL_COUNTER = 1, SHOAL_TALLY, SHOAL_REGISTER, SHOAL_GROWSET, SHOAL_SET };
SHOAL_HOST(state_add) int32_t shoal_state_add(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int64_t by,
                                              int32_t kind);
SHOAL_HOST(state_set) int32_t shoal_state_set(const void *name, uint32_t name_n, const void *field, uint32_t field_n,
                                              const void *value, uint32_t value_n);
SHOAL_HOST(state_insert) int32_t shoal_state_insert(const void *name, uint32_t name_n, const void *field, uint32_t field_n,
                                                    const void *element, uint32_t element_n, int32_t kind);
SHOAL_HOST(state_remove) int32_t shoal_state_remove(const void *name, uint32_t name_n, const void *field, uint32_t field_n,
                                                    const void *element, uint32_t element_n);
SHOAL_HOST(state_clear) int32_t shoal_state_clear(const void *name, uint32_t name_n, const void *field, uint32_t field_n);
/* An object as this node knows it: a little-endian uint32, its kind, and a register's bytes, or an int64: a number, or how many
 * elements a set has. */
SHOAL_HOST(state_get) int32_t shoal_state_get(const void *name, uint32_t name_n, const void *field, uint32_t field_n, int32_t kind,
                                              void *buf, uint32_t cap);
/* 1 if a set has an element, 0 if not. */
SHOAL_HOST(state_has) int32_t shoal_state_has(const void *name, uint32_t name_n, const void *field, uint32_t field_n,
                                              const void *element, uint32_t element_n);
/* Elements of a set that come after another, in order, or, if first is not 0, from the first on: each as a uint32 with its length, and
 * itself. None: there are no more. */
SHOAL_HOST(state_items) int32_t shoal_state_items(const void *name, uint32_t name_n, const void *field, uint32_t field_n,
                                                  const void *after, uint32_t after_n, int32_t first, uint32_t limit, void *buf,
                                                  uint32_t cap);
/* Fields of a map that come after another, in order: each as three uint32, its kind and the lengths of its name and value, the
 * name, and the value as shoal_state_get has it. None: there are no more. */
SHOAL_HOST(state_fields) int32_t shoal_state_fields(const void *name, uint32_t name_n, const void *after, uint32_t after_n,
                                                    uint32_t limit, void *buf, uint32_t cap);

SHOAL_HOST(log) int32_t shoal_log(const void *p, uint32_t n);

SHOAL_HOST(random) int32_t shoal_random(void *buf, uint32_t n);
SHOAL_HOST(now) int64_t shoal_now(void);     /* nanoseconds since 1970, the same during a turn */
SHOAL_HOST(epoch) int64_t shoal_epoch(void); /* grows whenever the agent may have moved */
SHOAL_HOST(gas) int64_t shoal_gas(void);     /* left of this turn's */
SHOAL_HOST(reading) int32_t shoal_reading(void); /* 1: this turn may stage nothing */

#ifndef __wasm__
#include "shoal_fake.h"
#endif

#define SHOAL_INLINE static inline __attribute__((unused))

/* The rest are conveniences. What they return comes from malloc and has a NUL behind it. A program that runs
 * out of memory traps, which fails the turn. */
SHOAL_INLINE char *shoal_take(int32_t n, char *buf, size_t *len) {
  if (n > 0) {
    char *all = realloc(buf, (size_t)n + 1);
    if (!all) abort();
    buf = all;
    if (shoal_rest(buf, (uint32_t)n) != n) abort();
  }
  buf[n > 0 ? n : 0] = 0;
  if (len) *len = n > 0 ? (size_t)n : 0;
  return buf;
}

SHOAL_INLINE char *shoal_room(void) {
  char *buf = malloc(1);
  if (!buf) abort();
  return buf;
}

/* The message's payload. */
SHOAL_INLINE char *shoal_payload(size_t *len) { return shoal_take(shoal_input(NULL, 0), shoal_room(), len); }

/* The value of a key, NULL if there is none. */
SHOAL_INLINE char *shoal_load(const char *key, size_t *len) {
  int32_t n = shoal_get(key, (uint32_t)strlen(key), NULL, 0);
  return n < 0 ? NULL : shoal_take(n, shoal_room(), len);
}

SHOAL_INLINE int32_t shoal_store(const char *key, const void *value, size_t n) {
  return shoal_put(key, (uint32_t)strlen(key), value, (uint32_t)n);
}

/* The reply of another agent, NULL if there is none: *result is then below zero. */
SHOAL_INLINE char *shoal_ask(const char *to, const char *method, const void *payload, size_t n, size_t *len,
                             int32_t *result) {
  int32_t got = shoal_call(to, (uint32_t)strlen(to), method, (uint32_t)strlen(method), payload, (uint32_t)n, NULL, 0);
  if (result) *result = got;
  return got < 0 ? NULL : shoal_take(got, shoal_room(), len);
}

/* Up to cap bytes of a file of a dataset, more than SHOAL_MAX_READ too: how many, fewer only at the file's end, or below zero. */
SHOAL_INLINE int64_t shoal_read_file(const char *cid, const char *path, int64_t offset, void *buf, size_t cap) {
  size_t got = 0;
  while (got < cap) {
    uint32_t want = cap - got < SHOAL_MAX_READ ? (uint32_t)(cap - got) : SHOAL_MAX_READ;
    int32_t n = shoal_read(cid, (uint32_t)strlen(cid), path, (uint32_t)strlen(path), offset + (int64_t)got, (char *)buf + got, want);
    if (n < 0) return n;
    got += (size_t)n;
    if ((uint32_t)n < want) break;
  }
  return (int64_t)got;
}

/* Mergeable state; field NULL: none. Adds to a counter, sets a register, puts an element into a set. */
SHOAL_INLINE uint32_t shoal_len(const char *s) { return s ? (uint32_t)strlen(s) : 0; }
SHOAL_INLINE int32_t shoal_count(const char *name, const char *field, int64_t by) {
  return shoal_state_add(name, shoal_len(name), field, shoal_len(field), by, 0);
}
SHOAL_INLINE int32_t shoal_set(const char *name, const char *field, const void *value, size_t n) {
  return shoal_state_set(name, shoal_len(name), field, shoal_len(field), value, (uint32_t)n);
}
SHOAL_INLINE int32_t shoal_insert(const char *name, const char *field, const char *element) {
  return shoal_state_insert(name, shoal_len(name), field, shoal_len(field), element, shoal_len(element), 0);
}

/* A counter's or tally's value, or how many elements a set has; 0 if there is none. */
SHOAL_INLINE int64_t shoal_number(const char *name, const char *field) {
  unsigned char b[12];
  int64_t v = 0;
  if (shoal_state_get(name, shoal_len(name), field, shoal_len(field), 0, b, sizeof b) != sizeof b || b[0] == SHOAL_REGISTER) return 0;
  for (int i = 11; i > 3; i--) v = (int64_t)((uint64_t)v << 8 | b[i]);
  return v;
}

/* A register's value, NULL if there is none. */
SHOAL_INLINE char *shoal_value(const char *name, const char *field, size_t *len) {
  int32_t n = shoal_state_get(name, shoal_len(name), field, shoal_len(field), SHOAL_REGISTER, NULL, 0);
  if (n < 4) return NULL;
  char *v = shoal_take(n, shoal_room(), NULL);
  memmove(v, v + 4, (size_t)n - 3);
  if (len) *len = (size_t)n - 4;
  return v;
}

/* For the end of a method: return shoal_reply(p, n); or return shoal_fails("why"); */
SHOAL_INLINE int32_t shoal_reply(const void *p, size_t n) { return shoal_output(p, (uint32_t)n); }
SHOAL_INLINE int32_t shoal_reply_text(const char *s) { return shoal_reply(s, strlen(s)); }
SHOAL_INLINE int32_t shoal_fails(const char *why) {
  shoal_fail(why, (uint32_t)strlen(why));
  return 1;
}

/* The calls of a service that waited, for handle_batch. Each gets one answer, in their order:
 *
 *   SHOAL_METHOD(handle_batch) {
 *     shoal_batch b = shoal_batch_begin();
 *     size_t n;
 *     for (const char *call; (call = shoal_batch_next(&b, &n));) shoal_batch_reply(&b, call, n);
 *     return shoal_batch_end(&b);
 *   }
 *
 * What next returns has no NUL behind it, and is good until the end. */
typedef struct {
  char *in, *out;
  size_t at, left, len, cap;
} shoal_batch;

SHOAL_INLINE uint32_t shoal_batch_u32(const char *p) {
  const unsigned char *b = (const unsigned char *)p;
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

SHOAL_INLINE void shoal_batch_write(shoal_batch *b, const void *p, size_t n) {
  if (b->len + n > b->cap) {
    b->cap = 2 * (b->len + n);
    b->out = (char *)realloc(b->out, b->cap);
    if (!b->out) abort();
  }
  if (n) memcpy(b->out + b->len, p, n);
  b->len += n;
}

SHOAL_INLINE void shoal_batch_word(shoal_batch *b, uint32_t v) {
  unsigned char w[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24)};
  shoal_batch_write(b, w, 4);
}

SHOAL_INLINE shoal_batch shoal_batch_begin(void) {
  shoal_batch b;
  memset(&b, 0, sizeof b);
  size_t n;
  b.in = shoal_payload(&n);
  if (n < 4) abort();
  b.left = n - 4;
  b.at = 4;
  shoal_batch_word(&b, shoal_batch_u32(b.in));
  return b;
}

/* The next call's payload, NULL when there is none left. */
SHOAL_INLINE const char *shoal_batch_next(shoal_batch *b, size_t *len) {
  if (b->left < 4) return NULL;
  uint32_t n = shoal_batch_u32(b->in + b->at);
  if (n > b->left - 4) abort();
  const char *p = b->in + b->at + 4;
  b->at += 4 + (size_t)n;
  b->left -= 4 + (size_t)n;
  *len = n;
  return p;
}

SHOAL_INLINE void shoal_batch_reply(shoal_batch *b, const void *p, size_t n) {
  shoal_batch_word(b, 0);
  shoal_batch_word(b, (uint32_t)n);
  shoal_batch_write(b, p, n);
}

/* This call fails, and no other. */
SHOAL_INLINE void shoal_batch_fail(shoal_batch *b, const char *why) {
  shoal_batch_word(b, 1);
  shoal_batch_word(b, (uint32_t)strlen(why));
  shoal_batch_write(b, why, strlen(why));
}

/* For the end of the method: return shoal_batch_end(&b); */
SHOAL_INLINE int32_t shoal_batch_end(shoal_batch *b) {
  int32_t code = shoal_reply(b->out, b->len);
  free(b->in);
  free(b->out);
  return code;
}

#endif

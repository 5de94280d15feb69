// Words and their counts: the part that wordcount and wordsum share.
//
// A word is a maximal run of ASCII letters, digits, '_' and bytes >= 0x80; ASCII letters count as
// lower case. CountWords in examples.go is the same rule in Go.
//
// The scanner classifies 64 bytes at a time with SIMD into a bit mask and walks the mask's edges.
// A word's first 16 bytes are its key, so that nearly every word is hashed and compared with four
// 64-bit operations. Where a runtime polls at every loop header, loops are what costs: the edge
// walk is therefore unrolled by calls (edges64).
#ifndef SHOAL_WORDS_H
#define SHOAL_WORDS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasm_simd128.h>

typedef struct {
	uint64_t lo, hi; // the first 16 bytes, zero padded
	uint64_t count;  // 0: an empty slot
	uint32_t len;
	char *rest; // the whole word if it is longer than 16 bytes
} entry;

static entry *table;
static uint32_t table_mask, table_used;
static const char *program;

// say writes strings up to a null pointer to standard error; printf would double the module.
static void say(const char *s, ...) {
	va_list more;
	va_start(more, s);
	for (; s; s = va_arg(more, const char *)) {
		if (write(2, s, strlen(s)) < 0) break;
	}
	va_end(more);
}

static _Noreturn void die(const char *what) {
	say(program, ": ", what, ": ", strerror(errno), "\n", (char *)0);
	exit(1);
}

static void *need(void *p) {
	if (!p) {
		errno = ENOMEM;
		die("no room for more words");
	}
	return p;
}

// ---- the table ----

static inline uint64_t mix(uint64_t lo, uint64_t hi) {
	uint64_t h = lo * 0x9e3779b97f4a7c15u ^ (hi + 0x2545f4914f6cdd1du) * 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t hash_long(const char *w, uint32_t len, uint64_t h) {
	for (uint32_t i = 16; i < len; i += 8) {
		uint64_t x = 0;
		__builtin_memcpy(&x, w + i, len - i < 8 ? len - i : 8);
		h = mix(h ^ x, x);
	}
	return h;
}

static void table_grow(void) {
	uint32_t n = table ? 2 * (table_mask + 1) : 1 << 13;
	entry *old = table;
	uint32_t old_n = table ? table_mask + 1 : 0;
	table = need(calloc(n, sizeof(entry)));
	table_mask = n - 1;
	for (uint32_t i = 0; i < old_n; i++) {
		if (!old[i].count) continue;
		uint64_t h = mix(old[i].lo, old[i].hi);
		if (old[i].len > 16) h = hash_long(old[i].rest, old[i].len, h);
		uint32_t s = (uint32_t)h & table_mask;
		while (table[s].count) s = (s + 1) & table_mask;
		table[s] = old[i];
	}
	free(old);
}

static inline int same(const entry *e, uint64_t lo, uint64_t hi, uint32_t len, const char *w) {
	return e->lo == lo && e->hi == hi && e->len == len && (len <= 16 || !memcmp(e->rest, w, len));
}

static char *arena;
static uint32_t arena_left;

static char *keep_long(const char *w, uint32_t len) {
	if (len > 1 << 16) return __builtin_memcpy(need(malloc(len)), w, len);
	if (len > arena_left) {
		arena_left = 1 << 18;
		arena = need(malloc(arena_left));
	}
	char *p = __builtin_memcpy(arena, w, len);
	arena += len;
	arena_left -= len;
	return p;
}

// add counts n more of the word w, which is lower-cased; 16 bytes after its end are readable.
static inline void add(const char *w, uint32_t len, uint64_t n) {
	uint64_t lo, hi = 0;
	__builtin_memcpy(&lo, w, 8);
	if (len < 8) {
		lo &= ((uint64_t)1 << 8 * len) - 1;
	} else if (len > 8) {
		__builtin_memcpy(&hi, w + 8, 8);
		if (len < 16) hi &= ((uint64_t)1 << 8 * (len - 8)) - 1;
	}
	uint64_t h = mix(lo, hi);
	if (len > 16) h = hash_long(w, len, h);
	uint32_t s = (uint32_t)h & table_mask;
	if (table[s].count) {
		if (same(&table[s], lo, hi, len, w)) {
			table[s].count += n;
			return;
		}
		do {
			s = (s + 1) & table_mask;
			if (table[s].count && same(&table[s], lo, hi, len, w)) {
				table[s].count += n;
				return;
			}
		} while (table[s].count);
	}
	table[s] = (entry){lo, hi, n, len, len > 16 ? keep_long(w, len) : 0};
	if (++table_used > table_mask / 2) table_grow();
}

// ---- the scanner ----

static char *buf; // holds the bytes from the start of the present word on
static uint32_t buf_cap;

static void token(const char *w, uint32_t len); // the program says what to do with each word

static uint64_t edges; // where the classes change in the block at block_at, one bit a byte
static const char *block_at, *word_at;

static inline void edge(void) {
	if (!edges) return;
	const char *at = block_at + __builtin_ctzll(edges);
	edges &= edges - 1;
	if (word_at) {
		token(word_at, (uint32_t)(at - word_at));
		word_at = 0;
	} else {
		word_at = at;
	}
}

static __attribute__((noinline)) void edges8(void) {
	edge(), edge(), edge(), edge();
	edge(), edge(), edge(), edge();
}

static __attribute__((noinline)) void edges64(void) {
	edges8();
	if (!edges) return;
	edges8();
	if (!edges) return;
	edges8();
	if (!edges) return;
	edges8(), edges8(), edges8(), edges8(), edges8();
}

// classify lower-cases 16 bytes in place and returns the mask of those that belong to words.
static inline uint64_t classify(char *p) {
	v128_t c = wasm_v128_load(p);
	v128_t low = wasm_v128_or(c, wasm_i8x16_splat(0x20));
	v128_t letter = wasm_u8x16_lt(wasm_i8x16_sub(low, wasm_i8x16_splat('a')), wasm_i8x16_splat(26));
	v128_t digit = wasm_u8x16_lt(wasm_i8x16_sub(c, wasm_i8x16_splat('0')), wasm_i8x16_splat(10));
	v128_t word = wasm_v128_or(wasm_v128_or(letter, digit),
	                           wasm_v128_or(wasm_i8x16_eq(c, wasm_i8x16_splat('_')), c));
	wasm_v128_store(p, wasm_v128_bitselect(low, c, letter));
	return wasm_i8x16_bitmask(word); // the top bit of c itself stands for bytes >= 0x80
}

static void scan(char *p, const char *end) {
	while (p < end) {
		uint64_t m = classify(p) | classify(p + 16) << 16 | classify(p + 32) << 32 | classify(p + 48) << 48;
		edges = m ^ (m << 1 | (word_at ? 1 : 0));
		if (end - p < 64) edges &= ((uint64_t)1 << (end - p)) - 1;
		block_at = p;
		if (edges) edges64();
		p += 64;
	}
}

// scan_file gives each word of a file to token().
static void scan_file(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0) die(path);
	if (!buf) buf = need(malloc(buf_cap = (1 << 18) + 80));
	uint32_t have = 0; // bytes of an unfinished word at the start of buf, scanned already
	for (;;) {
		if (buf_cap - 80 - have < 1 << 14) {
			buf = need(realloc(buf, buf_cap = 2 * buf_cap));
			word_at = buf;
		}
		ssize_t n = read(fd, buf + have, buf_cap - 80 - have);
		if (n < 0) die(path);
		if (n == 0) break;
		char *end = buf + have + n;
		__builtin_memset(end, 0, 80);
		scan(buf + have, end);
		have = word_at ? (uint32_t)(end - word_at) : 0;
		if (have) {
			if (word_at != buf) __builtin_memmove(buf, word_at, have);
			word_at = buf;
		}
	}
	if (word_at) token(buf, have);
	word_at = 0;
	close(fd);
}

// walk visits the regular files at and below path; want says which names count, 0 for all.
static void walk(const char *path, const char *want, void (*visit)(const char *)) {
	struct stat st;
	if (stat(path, &st) < 0) die(path);
	if (!S_ISDIR(st.st_mode)) {
		const char *slash = strrchr(path, '/');
		if (!want || !strcmp(slash ? slash + 1 : path, want)) visit(path);
		return;
	}
	DIR *d = opendir(path);
	if (!d) die(path);
	struct dirent *e;
	while (errno = 0, e = readdir(d)) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
		size_t a = strlen(path), b = strlen(e->d_name);
		char *child = need(malloc(a + b + 2));
		__builtin_memcpy(child, path, a);
		child[a] = '/';
		__builtin_memcpy(child + a + 1, e->d_name, b + 1);
		walk(child, want, visit);
		free(child);
	}
	if (errno) die(path);
	closedir(d);
}

// ---- the result ----

static int before(const entry *a, const entry *b) {
	uint64_t x = __builtin_bswap64(a->lo), y = __builtin_bswap64(b->lo);
	if (x != y) return x < y;
	x = __builtin_bswap64(a->hi), y = __builtin_bswap64(b->hi);
	if (x != y) return x < y;
	if (a->len <= 16 || b->len <= 16) return a->len < b->len;
	int c = memcmp(a->rest, b->rest, a->len < b->len ? a->len : b->len);
	return c ? c < 0 : a->len < b->len;
}

static void sort(entry **v, entry **spare, uint32_t n) {
	if (n < 2) return;
	uint32_t h = n / 2, i = 0, j = h, k = 0;
	sort(v, spare, h);
	sort(v + h, spare, n - h);
	__builtin_memcpy(spare, v, h * sizeof *v);
	while (i < h && j < n) v[k++] = before(v[j], spare[i]) ? v[j++] : spare[i++];
	__builtin_memcpy(v + k, spare + i, (h - i) * sizeof *v);
}

static char out[1 << 16];
static uint32_t out_len;

static void flush(int fd, const char *path) {
	for (uint32_t at = 0; at < out_len;) {
		ssize_t n = write(fd, out + at, out_len - at);
		if (n < 0) die(path);
		at += (uint32_t)n;
	}
	out_len = 0;
}

static void put(int fd, const char *path, const char *p, uint32_t n) {
	while (n) {
		if (out_len == sizeof out) flush(fd, path);
		uint32_t k = sizeof out - out_len < n ? sizeof out - out_len : n;
		__builtin_memcpy(out + out_len, p, k);
		out_len += k, p += k, n -= k;
	}
}

// number writes n before end, and returns where it starts.
static char *number(char *end, uint64_t n) {
	do {
		*--end = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return end;
}

// write_counts writes "word<TAB>count" lines, sorted by word, and returns the sum of the counts.
static uint64_t write_counts(const char *path) {
	entry **v = need(malloc(2 * (table_used + 1) * sizeof *v));
	uint32_t n = 0;
	for (uint32_t i = 0; i <= table_mask; i++) {
		if (table[i].count) v[n++] = &table[i];
	}
	sort(v, v + n, n);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0) die(path);
	uint64_t words = 0;
	for (uint32_t i = 0; i < n; i++) {
		char digits[24], *d = digits + sizeof digits;
		*--d = '\n';
		d = number(d, v[i]->count);
		*--d = '\t';
		put(fd, path, v[i]->len > 16 ? v[i]->rest : (const char *)&v[i]->lo, v[i]->len);
		put(fd, path, d, (uint32_t)(digits + sizeof digits - d));
		words += v[i]->count;
	}
	flush(fd, path);
	if (close(fd) < 0) die(path);
	return words;
}

#endif

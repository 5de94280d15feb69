// wordsum: adds up all counts.tsv files under /data into /out/counts.tsv, sorted by word, and
// prints "words N distinct M".
#include "../include/words.h"

static const char *file, *word;
static uint32_t word_len;
static char *kept; // the word of a pair, copied: the buffer may move before its count is read
static uint32_t kept_cap;

static _Noreturn void malformed(void) {
	say("wordsum: ", file, ": not a list of word<TAB>count lines\n", (char *)0);
	exit(1);
}

// token gets words and counts in turn.
static void token(const char *w, uint32_t len) {
	if (!word) {
		if (len + 16 > kept_cap) kept = need(realloc(kept, kept_cap = 2 * len + 64));
		__builtin_memcpy(kept, w, len);
		word = kept;
		word_len = len;
		return;
	}
	uint64_t n = 0;
	for (uint32_t i = 0; i < len; i++) {
		unsigned d = (unsigned char)w[i] - '0';
		if (d > 9 || n > (UINT64_MAX - d) / 10) malformed();
		n = 10 * n + d;
	}
	if (n) add(word, word_len, n);
	word = 0;
}

static void sum(const char *path) {
	file = path;
	scan_file(path);
	if (word) malformed();
}

int main(void) {
	program = "wordsum";
	table_grow();
	walk("/data", "counts.tsv", sum);
	uint64_t words = write_counts("/out/counts.tsv");
	char a[24], b[24];
	a[23] = b[23] = 0;
	const char *parts[] = {"words ", number(a + 23, words), " distinct ", number(b + 23, table_used), "\n"};
	for (int i = 0; i < 5; i++) put(1, "stdout", parts[i], (uint32_t)strlen(parts[i]));
	flush(1, "stdout");
	return 0;
}

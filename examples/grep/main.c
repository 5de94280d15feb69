// grep TEXT [PATH...]: prints "path:line" for each line that contains TEXT, in the files under /data
// or under the PATHs. The exit code is 0 if there was one, 1 if not.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasm_simd128.h>

static const char *text;
static size_t text_len;
static int found, failed;
static char *buf;
static size_t cap;

static void fail(const char *path) {
	perror(path);
	failed = 1;
}

static void show(const char *path, const char *line, size_t n) {
	found = 1;
	fputs(path, stdout);
	putchar(':');
	fwrite(line, 1, n, stdout);
	putchar('\n');
}

// find returns the first place of text between p and end, or null. It compares the first and the last
// byte of text with 64 places at a time; 64 bytes after end are readable.
static const char *find(const char *p, const char *end) {
	const v128_t first = wasm_i8x16_splat(text[0]), last = wasm_i8x16_splat(text[text_len - 1]);
	for (const char *stop = end - text_len; p <= stop; p += 64) {
		uint64_t at = 0;
		for (int i = 3; i >= 0; i--) {
			v128_t a = wasm_i8x16_eq(wasm_v128_load(p + 16 * i), first);
			v128_t b = wasm_i8x16_eq(wasm_v128_load(p + 16 * i + text_len - 1), last);
			at = at << 16 | (uint64_t)wasm_i8x16_bitmask(wasm_v128_and(a, b));
		}
		for (; at; at &= at - 1) {
			const char *hit = p + __builtin_ctzll(at);
			if (hit <= stop && !memcmp(hit, text, text_len)) return hit;
		}
	}
	return 0;
}

// line_start returns the end of the last line break between p and end, or p.
static const char *line_start(const char *p, const char *end) {
	const v128_t newline = wasm_i8x16_splat('\n');
	while (end - p >= 16) {
		uint32_t at = (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(end - 16), newline));
		if (at) return end - 16 + (32 - __builtin_clz(at));
		end -= 16;
	}
	while (end > p && end[-1] != '\n') end--;
	return end;
}

// lines shows the matching lines between p and end, which holds whole lines only.
static void lines(const char *path, const char *p, const char *end) {
	while (p < end) {
		const char *hit = (size_t)(end - p) < text_len ? 0 : find(p, end);
		if (!hit) return;
		hit = line_start(p, hit);
		const char *stop = memchr(hit, '\n', (size_t)(end - hit));
		if (!stop) stop = end;
		show(path, hit, (size_t)(stop - hit));
		p = stop + 1;
	}
}

static void file(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0) return fail(path);
	size_t have = 0;
	for (;;) {
		if (cap - have < 1 << 15) {
			char *more = realloc(buf, (cap = cap ? 2 * cap : 1 << 17) + 64);
			if (!more) exit((perror(path), 2));
			buf = more;
		}
		ssize_t n = read(fd, buf + have, cap - have);
		if (n < 0) fail(path);
		if (n <= 0) break;
		size_t end = have + (size_t)n, whole = (size_t)(line_start(buf + have, buf + end) - buf);
		if (whole > have) {
			lines(path, buf, buf + whole);
			memmove(buf, buf + whole, end - whole);
			end -= whole;
		}
		have = end;
	}
	lines(path, buf, buf + have);
	close(fd);
}

static void walk(const char *path) {
	struct stat st;
	if (stat(path, &st) < 0) return fail(path);
	if (!S_ISDIR(st.st_mode)) return file(path);
	struct dirent **names;
	int n = scandir(path, &names, 0, alphasort);
	if (n < 0) return fail(path);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		if (strcmp(name, ".") && strcmp(name, "..")) {
			char *child = malloc(strlen(path) + strlen(name) + 2);
			if (!child) exit((perror(path), 2));
			strcpy(child, path);
			strcat(child, "/");
			strcat(child, name);
			walk(child);
			free(child);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv) {
	if (argc < 2 || !*argv[1]) {
		fputs("usage: grep TEXT [PATH...]\n", stderr);
		return 2;
	}
	text = argv[1];
	text_len = strlen(text);
	if (argc == 2) walk("/data");
	for (int i = 2; i < argc; i++) walk(argv[i]);
	if (fflush(stdout)) fail("standard output");
	return failed ? 2 : !found;
}

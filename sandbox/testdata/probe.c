// probe VERB [ARGS...]: does one thing, for the tests of the sandbox; some of it is hostile. The verbs
// of the conformance suite are described in shoaltest/runner_suite.go.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

// Of WASI itself, below the C library, which checks paths of its own.
__attribute__((import_module("wasi_snapshot_preview1"), import_name("path_open"))) int
wasi_path_open(int fd, int dirflags, const char *path, size_t len, int oflags, long long base, long long inherit,
               int flags, int *out);

static void report(const char *what, long result) {
	if (result < 0) {
		printf("%s: %s\n", what, strerror(errno));
	} else {
		printf("%s: done\n", what);
	}
}

static void tree(const char *path) {
	struct stat st;
	if (lstat(path, &st) < 0) {
		report(path, -1);
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		printf("%s %lld %lld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec);
		return;
	}
	printf("%s/\n", path);
	DIR *d = opendir(path);
	if (!d) {
		report(path, -1);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
		char child[1024];
		snprintf(child, sizeof child, "%s/%s", path, e->d_name);
		tree(child);
	}
	closedir(d);
}

static int cat(int fd) {
	static char buf[1 << 16];
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0, k; at < n; at += k) {
			if ((k = write(1, buf + at, n - at)) < 0) return 1;
		}
	}
	return n < 0;
}

static int spew(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0) return -1;
	ssize_t n = write(fd, text, strlen(text));
	return close(fd) < 0 || n < 0 ? -1 : 0;
}

static volatile unsigned stop; // stays 0

__attribute__((noinline)) static unsigned deep(unsigned n) { return n == stop ? 1 : 3 * deep(n + 1) + n; }

// raw opens a path relative to a descriptor, past the C library.
static void raw(int fd, const char *path) {
	int out;
	int e = wasi_path_open(fd, 1, path, strlen(path), 0, 2 /* fd_read */, 0, 0, &out);
	printf("raw %d %s: %s\n", fd, path, e ? strerror(e) : "done");
}

static void escape(void) {
	report("open /data/../../etc/passwd", open("/data/../../etc/passwd", O_RDONLY));
	report("open /etc/passwd", open("/etc/passwd", O_RDONLY));
	report("open /", open("/", O_RDONLY));
	raw(3, "../etc/passwd"), raw(3, "/etc/passwd"), raw(3, "sub/../../../etc/passwd");
	raw(4, "../secret"), raw(4, ".."), raw(4, "/"), raw(0, "secret"), raw(9, "secret");
	report("write /data", spew("/data/new", "x"));
	report("overwrite /data", spew("/data/a.txt", "x"));
	report("unlink /data", unlink("/data/a.txt"));
	report("mkdir /data", mkdir("/data/d", 0755));
	report("rename /data", rename("/data/a.txt", "/data/b.txt"));
	report("rename /data to /out", rename("/data/a.txt", "/out/a.txt"));
	report("link", link("/data/a.txt", "/out/link"));
	report("absolute symlink", symlink("/etc/passwd", "/out/abs"));
	report("parent symlink", symlink("../secret", "/out/up"));
	report("mkdir sub", mkdir("/out/sub", 0755));
	report("inner symlink", symlink("../inside", "/out/sub/link"));
	report("write inside", spew("/out/inside", "inside"));
	report("follow inner", open("/out/sub/link", O_RDONLY));
	report("move the link up", rename("/out/sub/link", "/out/link"));
	report("follow it out", open("/out/link", O_RDONLY));
	report("write through it", spew("/out/link", "x"));
	report("rename out", rename("/out/inside", "/out/../secret"));
	report("planted link", open("/out/planted", O_RDONLY));
	report("planted folder", open("/out/planted-dir/secret", O_RDONLY));
}

// files tries what programs do with /out.
static int files(void) {
	char buf[64] = {0};
	int fd = open("/out/f", O_RDWR | O_CREAT | O_EXCL, 0644);
	if (fd < 0 || write(fd, "0123456789", 10) != 10) return 1;
	if (lseek(fd, 2, SEEK_SET) != 2 || read(fd, buf, 3) != 3 || memcmp(buf, "234", 3)) return 2;
	if (pwrite(fd, "AB", 2, 0) != 2 || pread(fd, buf, 4, 0) != 4 || memcmp(buf, "AB23", 4)) return 3;
	if (ftruncate(fd, 4) || lseek(fd, 0, SEEK_END) != 4) return 4;
	struct stat st;
	if (fstat(fd, &st) || st.st_size != 4 || !S_ISREG(st.st_mode) || fsync(fd)) return 5;
	int again = open("/out/f", O_WRONLY | O_APPEND);
	if (write(again, "end", 3) != 3 || fstat(fd, &st) || st.st_size != 7) return 6;
	if (open("/out/f", O_RDWR | O_CREAT | O_EXCL, 0644) >= 0 || errno != EEXIST) return 7;
	if (mkdir("/out/d", 0755) || mkdir("/out/d/e", 0755) || !rmdir("/out/d") || errno != ENOTEMPTY) return 8;
	if (rename("/out/f", "/out/d/e/g") || access("/out/f", F_OK) == 0 || access("/out/d/e/g", F_OK)) return 9;
	if (!unlink("/out/d") || !rmdir("/out/d/e/g") || errno != ENOTDIR) return 10;
	if (unlink("/out/d/e/g") || pread(fd, buf, 64, 0) != 7) return 11;
	if (close(fd) || close(again) || rmdir("/out/d/e") || open("/out/none", O_RDONLY) >= 0) return 12;
	DIR *dir = opendir("/out");
	for (int i = 0; i < 3; i++) {
		snprintf(buf, sizeof buf, "/out/n%d", 2 - i);
		if (spew(buf, "n")) return 13;
	}
	int n = 0;
	for (int pass = 0; pass < 2; pass++, rewinddir(dir)) {
		while (readdir(dir)) n++;
	}
	if (n != 3 + 6) return 14; // read at opendir: ".", "..", d; after the rewind n0, n1 and n2 too
	closedir(dir);
	if (open("/out/d/", O_RDONLY | O_DIRECTORY) < 0 || open("/out/n0", O_RDONLY | O_DIRECTORY) >= 0) return 15;
	return 0;
}

int main(int argc, char **argv) {
	const char *verb = argc > 1 ? argv[1] : "";
	const char *a = argc > 2 ? argv[2] : "", *b = argc > 3 ? argv[3] : "";
	if (!strcmp(verb, "args")) {
		for (int i = 0; i < argc; i++) puts(argv[i]);
	} else if (!strcmp(verb, "env")) {
		for (char **e = environ; *e; e++) puts(*e);
	} else if (!strcmp(verb, "exit")) {
		return atoi(a);
	} else if (!strcmp(verb, "cat")) {
		return cat(argc > 2 ? open(a, O_RDONLY) : 0);
	} else if (!strcmp(verb, "err")) {
		fputs(a, stderr);
	} else if (!strcmp(verb, "tree")) {
		tree(a);
	} else if (!strcmp(verb, "write")) {
		report("write", spew(a, b));
	} else if (!strcmp(verb, "random")) {
		unsigned char r[16];
		if (getentropy(r, sizeof r)) return 1;
		for (int i = 0; i < 16; i++) printf("%02x", r[i]);
		puts("");
	} else if (!strcmp(verb, "spin")) {
		for (volatile unsigned i = 0;; i++) {
		}
	} else if (!strcmp(verb, "sleep")) {
		sleep(3600);
		puts("woke");
	} else if (!strcmp(verb, "trap")) {
		__builtin_trap();
	} else if (!strcmp(verb, "eat")) {
		for (int i = 0; i < atoi(a); i++) {
			static char *volatile p; // so that the compiler keeps the memory
			p = malloc(1 << 20);
			if (!p) {
				puts("no memory");
				if (!strcmp(b, "calmly")) return 0;
				abort();
			}
			memset(p, 1, 1 << 20);
		}
		puts("eaten");
		if (!strcmp(b, "hold")) return cat(0);
	} else if (!strcmp(verb, "deep")) {
		return (int)deep(1);
	} else if (!strcmp(verb, "flood")) {
		static char buf[1 << 16];
		int fd = *a ? open(a, O_WRONLY | O_CREAT, 0644) : 1;
		for (;;) (void)!write(fd, buf, sizeof buf);
	} else if (!strcmp(verb, "recycle")) { // writes and removes N MiB
		static char buf[1 << 20];
		for (int i = 0; i < atoi(a); i++) {
			int fd = open("/out/tmp", O_WRONLY | O_CREAT | O_TRUNC, 0644);
			if (fd < 0 || write(fd, buf, sizeof buf) < 0) return 1;
			if (!strcmp(b, "open")) {
				unlink("/out/tmp");
				continue;
			}
			close(fd);
			if (i % 2) unlink("/out/tmp");
		}
	} else if (!strcmp(verb, "holes")) {
		int fd = open("/out/holes", O_WRONLY | O_CREAT, 0644);
		(void)!pwrite(fd, "x", 1, 1LL << 40);
		puts("a hole");
	} else if (!strcmp(verb, "names")) {
		for (int i = 0;; i++) {
			char path[64];
			snprintf(path, sizeof path, "/out/%d", i);
			if (spew(path, "")) return 1;
		}
	} else if (!strcmp(verb, "open")) {
		int n = 0;
		while (open(a, O_RDONLY) >= 0) n++;
		report("open", -1);
		if (n > 1000) return 1;
	} else if (!strcmp(verb, "escape")) {
		escape();
	} else if (!strcmp(verb, "files")) {
		return files();
	} else if (!strcmp(verb, "clock")) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		printf("%lld %ld\n", (long long)t.tv_sec, t.tv_nsec % 1000000);
	} else {
		fprintf(stderr, "no verb %s\n", verb);
		return 2;
	}
	return 0;
}

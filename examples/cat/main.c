// cat [PATH...]: writes files, or standard input, to standard output. PATHs start at /, so inputs are
// /data/NAME/...
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char buf[1 << 16];

static int copy(int fd, const char *name) {
	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);
		if (n == 0) return 0;
		for (ssize_t at = 0, k; n > 0 && at < n; at += k) {
			k = write(1, buf + at, (size_t)(n - at));
			if (k < 0) n = -1;
		}
		if (n < 0) {
			perror(name);
			return 1;
		}
	}
}

int main(int argc, char **argv) {
	int bad = argc < 2 ? copy(0, "standard input") : 0;
	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY);
		if (fd < 0) {
			perror(argv[i]);
			bad = 1;
			continue;
		}
		bad |= copy(fd, argv[i]);
		close(fd);
	}
	return bad;
}

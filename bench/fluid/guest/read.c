// Reads /data/set to its end and adds up its words: all that there is to a task whose cost is to have code and data together.
// Its exit code is 7 if that went well.
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

WASI(path_open)
int path_open(int dir, int dirflags, const char *path, int len, int oflags, long long rights, long long inheriting, int fdflags, int *fd);

struct part { void *at; int len; };
WASI(fd_read) int fd_read(int fd, const struct part *parts, int n, int *got);
WASI(proc_exit) _Noreturn void proc_exit(int code);

static long long buf[8192];
volatile long long sum;

void _start(void) {
	int fd = -1;
	for (int dir = 3; dir < 6 && fd < 0; dir++) // the folders that a task may see: one is /data
		if (path_open(dir, 0, "set", 3, 0, 2, 0, 0, &fd) != 0)
			fd = -1;
	if (fd < 0)
		proc_exit(1);
	for (;;) {
		struct part p = {buf, sizeof buf};
		int got;
		if (fd_read(fd, &p, 1, &got) != 0)
			proc_exit(2);
		if (got == 0)
			proc_exit(7);
		for (int i = 0; i < got / 8; i++)
			sum += buf[i];
	}
}

// fail [CODE]: ends with the exit code CODE (1 by default), or, for "trap", by trapping. For trying out
// what a failing task looks like.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
	fputs("failing as asked\n", stderr);
	if (argc > 1 && !strcmp(argv[1], "trap")) __builtin_trap();
	return argc > 1 ? atoi(argv[1]) : 1;
}

// hello [NAME...]: greets, and says what it was given.
#include <stdio.h>

int main(int argc, char **argv) {
	if (argc < 2) puts("Hello from a shoal.");
	for (int i = 1; i < argc; i++) {
		fputs("Hello, ", stdout);
		fputs(argv[i], stdout);
		puts(".");
	}
	return 0;
}

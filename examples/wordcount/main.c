// wordcount [PATH...]: counts the words of every file under /data (or of the PATHs, which are
// relative to /data) and writes "word<TAB>count" lines, sorted by word, to /out/counts.tsv.
#include "../include/words.h"

static void token(const char *w, uint32_t len) { add(w, len, 1); }

int main(int argc, char **argv) {
	program = "wordcount";
	table_grow();
	if (argc < 2) walk("/data", 0, scan_file);
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '/') {
			walk(argv[i], 0, scan_file);
			continue;
		}
		char *path = need(malloc(strlen(argv[i]) + 7));
		strcpy(path, "/data/");
		strcat(path, argv[i]);
		walk(path, 0, scan_file);
		free(path);
	}
	write_counts("/out/counts.tsv");
	return 0;
}

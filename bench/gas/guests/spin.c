// A guest that never ends by itself.
#include <stdio.h>

int main(void) {
  puts("begin");
  fflush(stdout);
  for (volatile unsigned i = 0;; i++) {
  }
}

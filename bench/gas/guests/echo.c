// A guest that is called again and again: echo copies what it is given. It has no library at all.
static unsigned char in[1024], out[1024];

__attribute__((export_name("in"))) void *in_at(void) { return in; }
__attribute__((export_name("out"))) void *out_at(void) { return out; }

__attribute__((export_name("echo"))) int echo(int n) {
  if (n < 0 || n > (int)sizeof in) return -1;
  __builtin_memcpy(out, in, n);
  return n;
}

// Kernels without SIMD: clang --target=wasm32-wasi -O2.
#include <math.h>

#include "kernel.h"

static uint64_t bits(double d) {
  uint64_t u;
  memcpy(&u, &d, 8);
  return u;
}

// A chain of dependent additions and multiplications: the shortest loop there is.
static uint64_t chain(int n) {
  uint64_t h = 1469598103934665603ull;
  for (int i = 0; i < n; i++) h = (h ^ (uint64_t)(i & 255)) * 1099511628211ull;
  return h;
}

static uint64_t matmul(int n) {
  double *a = malloc(8 * n * n), *b = malloc(8 * n * n), *c = calloc(n * n, 8);
  for (int i = 0; i < n * n; i++) a[i] = i % 7, b[i] = i % 5;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++) {
      double x = a[i * n + k];
      for (int j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
    }
  double s = 0;
  for (int i = 0; i < n * n; i++) s += c[i];
  return bits(s);
}

static uint64_t sieve(int n) {
  unsigned char *f = calloc(n + 1, 1);
  uint64_t count = 0;
  for (int i = 2; i <= n; i++) {
    if (f[i]) continue;
    count++;
    for (int j = 2 * i; j <= n; j += i) f[j] = 1;
  }
  return count;
}

static uint64_t crc32(int n) {
  uint32_t table[256], c = ~0u;
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t x = i;
    for (int k = 0; k < 8; k++) x = x & 1 ? 0xedb88320u ^ (x >> 1) : x >> 1;
    table[i] = x;
  }
  for (int i = 0; i < n; i++) c = table[(c ^ (uint32_t)i) & 255] ^ (c >> 8);
  return ~c;
}

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint64_t sha256(int blocks) {
  static uint32_t k[64], h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (uint32_t i = 0; i < 64; i++) k[i] = i * 0x9e3779b9u ^ 0x428a2f98u; // the work is the same with any constants
  uint32_t w[64];
  for (int b = 0; b < blocks; b++) {
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)(b * 16 + i) * 2654435761u;
    for (int i = 16; i < 64; i++) {
      uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
      uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t s[8];
    memcpy(s, h, 32);
    for (int i = 0; i < 64; i++) {
      uint32_t t1 = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      uint32_t t2 = (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + t1, s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
  }
  return (uint64_t)h[0] << 32 | h[7];
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

// The library's sort: calls through a pointer, small functions.
static uint64_t sort(int n) {
  uint64_t *v = malloc(8 * n), s = 88172645463325252ull;
  for (int i = 0; i < n; i++) v[i] = next(&s);
  qsort(v, n, 8, compare);
  return v[n / 3] ^ v[n / 2];
}

// A hash table with open addressing: loads that miss the cache.
static uint64_t hashmap(int n) {
  uint32_t size = 1;
  while (size < 2u * n) size <<= 1;
  uint64_t *keys = calloc(size, 8), *values = calloc(size, 8), s = 88172645463325252ull, found = 0;
  for (int i = 0; i < 2 * n; i++) {
    uint64_t key = next(&s) % n + 1;
    uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 40) & (size - 1);
    while (keys[at] && keys[at] != key) at = (at + 1) & (size - 1);
    keys[at] = key, found += values[at]++;
  }
  return found;
}

static uint64_t mandelbrot(int n) {
  uint64_t sum = 0;
  for (int y = 0; y < n; y++)
    for (int x = 0; x < n; x++) {
      double cr = 3.0 * x / n - 2, ci = 2.0 * y / n - 1, zr = 0, zi = 0;
      int i = 0;
      for (; i < 100 && zr * zr + zi * zi < 4; i++) {
        double t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci, zr = t;
      }
      sum += i;
    }
  return sum;
}

static uint64_t nbody(int steps) {
  double p[5][3], v[5][3], m[5];
  for (int i = 0; i < 5; i++) {
    m[i] = 1.0 / (i + 1);
    for (int d = 0; d < 3; d++) p[i][d] = i * 1.5 + d, v[i][d] = 0.1 * (d - i);
  }
  for (int s = 0; s < steps; s++) {
    for (int i = 0; i < 5; i++)
      for (int j = i + 1; j < 5; j++) {
        double d[3], r = 0.01;
        for (int k = 0; k < 3; k++) d[k] = p[i][k] - p[j][k], r += d[k] * d[k];
        double f = 0.001 / (r * sqrt(r));
        for (int k = 0; k < 3; k++) v[i][k] -= d[k] * m[j] * f, v[j][k] += d[k] * m[i] * f;
      }
    for (int i = 0; i < 5; i++)
      for (int k = 0; k < 3; k++) p[i][k] += 0.001 * v[i][k];
  }
  return bits(p[0][0]);
}

// Recursion: a function so small that its entry is most of it.
static uint64_t __attribute__((noinline)) fibonacci(int n) {
  return n < 2 ? (uint64_t)n : fibonacci(n - 1) + fibonacci(n - 2);
}

int main(int argc, char **argv) {
  static const struct kernel list[] = {
      {"chain", chain},     {"matmul", matmul}, {"sieve", sieve},           {"crc32", crc32},
      {"sha256", sha256},   {"sort", sort},     {"hashmap", hashmap},       {"mandelbrot", mandelbrot},
      {"nbody", nbody},     {"fibonacci", fibonacci}, {"wait", wait_for_end},
  };
  return run_kernel(list, sizeof list / sizeof *list, argc, argv);
}

// Kernels that the compiler turns into SIMD, and one by hand: clang --target=wasm32-wasi -O2 -msimd128 -ffast-math.
#include <wasm_simd128.h>

#include "kernel.h"

enum { size = 1 << 14 }; // elements: it stays in the cache

static uint64_t saxpy(int n) {
  static float x[size], y[size];
  for (int i = 0; i < size; i++) x[i] = i % 13, y[i] = i % 7;
  for (int r = 0; r < n; r++) {
    float a = 1.0f / (r + 1);
    for (int i = 0; i < size; i++) y[i] += a * x[i];
  }
  return (uint64_t)(y[size / 2] * 1000);
}

static uint64_t dot(int n) {
  static float x[size], y[size];
  for (int i = 0; i < size; i++) x[i] = i % 13, y[i] = i % 7;
  float s = 0;
  for (int r = 0; r < n; r++) {
    float t = 0;
    for (int i = 0; i < size; i++) t += x[i] * y[i];
    s += t / n, x[r % size] += 1;
  }
  return (uint64_t)s;
}

static uint64_t matmul(int n) {
  float *a = malloc(4 * n * n), *b = malloc(4 * n * n), *c = calloc(n * n, 4);
  for (int i = 0; i < n * n; i++) a[i] = i % 7, b[i] = i % 5;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++) {
      float x = a[i * n + k];
      for (int j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
    }
  float s = 0;
  for (int i = 0; i < n; i++) s += c[i * n + i];
  return (uint64_t)s;
}

static uint64_t blur(int n) {
  static uint8_t in[size + 2], out[size + 2];
  for (int i = 0; i < size + 2; i++) in[i] = i * 31;
  for (int r = 0; r < n; r++) {
    for (int i = 1; i <= size; i++) out[i] = (in[i - 1] + 2 * in[i] + in[i + 1]) >> 2;
    memcpy(in, out, sizeof in);
  }
  uint64_t s = 0;
  for (int i = 0; i < size; i++) s += in[i];
  return s;
}

// How often a byte occurs, by hand.
static uint64_t count(int n) {
  static uint8_t text[size];
  for (int i = 0; i < size; i++) text[i] = i * 7;
  uint64_t found = 0;
  for (int r = 0; r < n; r++) {
    v128_t want = wasm_i8x16_splat(r);
    for (int i = 0; i < size; i += 16)
      found += __builtin_popcount(wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(text + i), want)));
  }
  return found;
}

int main(int argc, char **argv) {
  static const struct kernel list[] = {
      {"saxpy", saxpy}, {"dot", dot}, {"matmul", matmul}, {"blur", blur}, {"count", count}, {"wait", wait_for_end},
  };
  return run_kernel(list, sizeof list / sizeof *list, argc, argv);
}

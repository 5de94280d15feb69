#!/bin/sh
# Builds the guests in C into $1, by default beside their sources. They are committed, so that the benchmark
# needs no C compiler; TestGuestsAreBuiltFromSource rebuilds and compares them.
#
# Debian 12: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
set -eu
cd "$(dirname "$0")"
out=${1:-.}
wasi="clang --target=wasm32-wasi -O2 -mbulk-memory -ftls-model=local-exec -Wall -Wextra -Werror -Wl,--strip-all"
$wasi -o "$out/scalar.wasm" scalar.c
$wasi -msimd128 -ffast-math -o "$out/simd.wasm" simd.c
$wasi -o "$out/spin.wasm" spin.c
clang --target=wasm32 -O2 -mbulk-memory -nostdlib -Wall -Wextra -Werror -Wl,--no-entry -Wl,--strip-all \
  -o "$out/echo.wasm" echo.c

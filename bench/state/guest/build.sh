#!/bin/sh
# Builds the guest into $1, by default beside its source. It is committed, so that the benchmark needs no C compiler.
#
# Debian 12: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
set -eu
cd "$(dirname "$0")"
clang --target=wasm32-wasi -O2 -ftls-model=local-exec -Wall -Wextra -Werror -mexec-model=reactor -I../../../sdk/c \
  -Wl,--strip-all,--stack-first -o "${1:-.}/add.wasm" add.c

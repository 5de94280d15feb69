#!/bin/sh
# Builds the guest into $1, by default beside its source. It is committed, so that the benchmark needs no C compiler.
#
# Debian 12: apt-get install clang lld
set -eu
cd "$(dirname "$0")"
clang --target=wasm32 -O2 -nostdlib -Wall -Wextra -Werror -Wl,--no-entry -Wl,--export=_start -Wl,--strip-all \
  -o "${1:-.}/read.wasm" read.c

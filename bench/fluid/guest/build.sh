#!/bin/sh
# Builds read.wasm with clang and wasm-ld, any of the last years.
cd "$(dirname "$0")" && clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry,--export=_start,--strip-all -o read.wasm read.c

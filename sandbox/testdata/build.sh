#!/bin/sh
# Builds the guests of the sandbox's tests, with Debian's clang 14. Where: $1, or beside this file.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
flags="--target=wasm32-wasi -O2 -ftls-model=local-exec -Wall -Wextra -Werror"
clang $flags -Wl,--strip-debug -o "$out/probe.wasm" probe.c
clang $flags -mexec-model=reactor -Wl,--strip-all -o "$out/reactor.wasm" reactor.c
clang $flags -mexec-model=reactor -I../../sdk/c -Wl,--strip-debug -o "$out/agent.wasm" agent.c

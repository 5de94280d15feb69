#!/bin/sh
# Builds the example modules into $1, by default beside their sources. They are committed, since they
# are part of the binary; TestModulesAreBuiltFromSource rebuilds and compares them. Those in Go are large,
# and are kept compressed; another Go than the one below would give other bytes, and leaves them as they are.
#
# Debian 12: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
set -eu
cd "$(dirname "$0")"
out=$(cd "${1:-.}" && pwd)
go=go1.26.8
flags="--target=wasm32-wasi -O2 -ftls-model=local-exec -Wall -Wextra -Werror"
link="-Wl,--strip-all,--stack-first,-z,stack-size=524288"
for name in cat fail grep hello wordcount wordsum; do
  clang $flags -msimd128 -mbulk-memory $link -o "$out/$name.wasm" "$name/main.c"
done
for name in ask count; do
  clang $flags -I../sdk/c $link -o "$out/$name.wasm" "$name/main.c"
done
for name in classify counterc ledger readerc tally wordcount-stream; do
  clang $flags -mexec-model=reactor -I../sdk/c -Wl,--strip-all,--stack-first -o "$out/$name.wasm" "$name/main.c"
done
if [ "$(GOTOOLCHAIN=local go env GOVERSION)" != $go ]; then
  echo "the agents in Go are built with $go: they stay as they are"
  exit
fi
cd agents
for name in counter election kv lock membership poll primes queue reader transfer workflow; do
  GOTOOLCHAIN=local GOFLAGS= GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -buildmode=c-shared -ldflags '-s -w' -o "$out/$name.wasm" "./$name"
  gzip -9nf "$out/$name.wasm"
done

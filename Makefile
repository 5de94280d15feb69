# Everyday commands. 'make check' is what a change must pass before it is shown to others; .ci/run is the whole.

.PHONY: build test quick race floors fuzz process nemesis examples guests bench check demo

build:            ## one binary, ./shoal
	CGO_ENABLED=0 go build -trimpath -o shoal ./cmd/shoal

test:             ## everything that runs anywhere
	go test ./...

quick:            ## ground, words, leaves and minds: no libp2p, seconds
	go test . ./wire ./capability ./expr ./internal/... ./scheduler/... ./members/... ./plans/... ./data/spread

race:
	go test -race ./...

floors:           ## the import policy
	go test -count=1 ./internal/floors

process:          ## real processes: kill -9, partitions (as root: network namespaces)
	go test -tags process -count=1 ./cmd/shoal

SEED ?= 1
ORDEALS ?= 50
OPS ?= 100000
nemesis:          ## what clients of agents see under faults, for long: make nemesis SEED=7 ORDEALS=50 OPS=100000
	go test -count=1 -timeout 0 ./agents -run '^TestOrdeal$$' -v -seed $(SEED) -ordeals $(ORDEALS)
	go test -tags process -count=1 -timeout 0 ./cmd/shoal -run '^TestNemesis$$' -v -seed $(SEED) -ops $(OPS)

examples:         ## rebuild the guest modules and pack the SDK that are part of the binary (clang, lld, wasi-libc)
	./examples/build.sh
	./sandbox/testdata/build.sh
	go test -count=1 -run '^TestPacked$$' ./sdk -update

guests:           ## rebuild the guest modules of the gas benchmark, with the same tools
	./bench/gas/guests/build.sh

bench:            ## ours and theirs side by side; writes bench/RESULTS.md, takes about 5 minutes
	cd bench && go run . all

demo:
	go run ./cmd/shoal demo

check: floors
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...
	cd sdk/go && go vet ./... && GOOS=wasip1 GOARCH=wasm go vet ./agent
	cd examples/agents && go vet ./...
	test -z "$$(go run mvdan.cc/gofumpt@v0.9.2 -l .)"

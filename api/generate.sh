#!/bin/sh
# Regenerates the Go code of the contracts under api/. Needs protoc 3.21 or newer; the plugins are built at fixed versions
# into $BIN (default: a temporary directory).
set -eu
cd "$(dirname "$0")"
BIN=${BIN:-$(mktemp -d)}
export PATH="$BIN:$PATH"
( # outside the module, so that the tools do not become dependencies
	cd /
	[ -x "$BIN/protoc-gen-go" ] || GOBIN="$BIN" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	[ -x "$BIN/protoc-gen-connect-go" ] || GOBIN="$BIN" go install connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
)
find . -name '*.proto' | sort | xargs protoc --proto_path=. --go_out=. --go_opt=paths=source_relative \
	--connect-go_out=. --connect-go_opt=paths=source_relative,simple

#!/bin/sh
# check_install.sh BUILD SOURCE: installs the runtime of a build, moves the tree, builds a project against it with
# find_package and with pkg-config, and runs both.
set -eu
build=$1
consumer=$2/tests/runtime/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ATTUNE_CACHE_DIR="$work/cache"

cmake --install "$build" --component runtime --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/moved"
cmake -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/log" || { cat "$work/log"; exit 1; }
cmake --build "$work/build" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/build/consumer"

command -v pkg-config >/dev/null || { echo "no pkg-config here: not tried"; exit 0; }
PKG_CONFIG_PATH=$(dirname "$(find "$work/moved" -name attune.pc)")
export PKG_CONFIG_PATH
libraries=$(pkg-config --libs attune)
cc "$consumer/consumer.c" $(pkg-config --cflags attune) $libraries \
  "-Wl,-rpath,$(pkg-config --variable=libdir attune)" -o "$work/consumer"
"$work/consumer"

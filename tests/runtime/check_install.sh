#!/bin/sh
# check_install.sh BUILD SOURCE FAKE_GPU [CUDA_INCLUDE CUDA_LIBRARIES]: installs the runtime of a build, moves the
# tree, builds programs against it with find_package and with pkg-config, in C and C++, shared and static, and runs each
# without a GPU and, through its launch, on the fake one. With the CUDA runtime, the quickstarts as docs/c.md says.
set -eu
build=$1
source=$2
fake_gpu=$3
consumer=$source/tests/runtime/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "check_install: $*"; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "$*"; }; }

quietly cmake --install "$build" --component runtime --strip --prefix "$work/first"
mv "$work/first" "$work/moved"
library=$(find "$work/moved" -name libattune.so)
bytes=$(stat -L -c %s "$library")
[ "$bytes" -lt 5000000 ] || fail "libattune.so has $bytes bytes without its symbols"

quietly cmake -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved"
quietly cmake --build "$work/build"

command -v pkg-config >/dev/null || fail "no pkg-config (Debian: pkgconf)"
PKG_CONFIG_PATH=$(dirname "$library")/pkgconfig
export PKG_CONFIG_PATH
rpath=-Wl,-rpath,$(pkg-config --variable=libdir attune)
# The linker prefers a shared library: the archive is named.
archive=$(pkg-config --static --libs attune | sed 's/-lattune/-l:libattune.a/')
quietly cc "$consumer/consumer.c" $(pkg-config --cflags --libs attune) "$rpath" -o "$work/build/pkg_config_shared"
quietly cc "$consumer/consumer.c" $(pkg-config --cflags attune) $archive -o "$work/build/pkg_config_static"

# run PROGRAM DRIVER: sets code and output
run() {
  code=0
  output=$(env -i HOME="$work" ATTUNE_CACHE_DIR="$work/cache" ATTUNE_CUDA_DRIVER="$2" FAKE_GPU_TEMPLATE=hopper \
    ${CUDA_HOME:+CUDA_HOME="$CUDA_HOME"} ${ATTUNE_NVRTC:+ATTUNE_NVRTC="$ATTUNE_NVRTC"} "$1" 2>&1) || code=$?
  echo "$(basename "$1") ($code): $output"
}
expect_no_gpu() {
  run "$1" /nonexistent/libcuda.so.1
  case $code:$output in
    3:*"ATTUNE_NO_GPU: no CUDA driver"*) ;;
    *) fail "$1 without a driver" ;;
  esac
}
for name in c_shared c_static cpp_shared cpp_static pkg_config_shared pkg_config_static; do
  program=$work/build/$name
  needed=$(readelf -d "$program")
  case $name:$needed in
    *_shared:*libattune.so.0*) ;;
    *_static:*libattune*) fail "$name is not static" ;;
    *_static:*) ;;
    *) fail "$name does not ask for libattune.so.0" ;;
  esac
  expect_no_gpu "$program"
  run "$program" "$fake_gpu"
  [ "$code" = 0 ] || fail "$name on the fake GPU"
done

[ $# -gt 3 ] || { echo "no CUDA runtime here: the quickstarts were not built"; exit 0; }
cuda="-I$4 -L$5 -lcudart_static -lrt -lpthread -ldl -lm"
shared="$(pkg-config --cflags --libs attune) $rpath"
static="$(pkg-config --cflags attune) $archive"
cd "$source/examples"
quietly cc -O2 quickstart.c $shared $cuda -o "$work/build/quickstart_c_shared"
quietly cc -O2 quickstart.c $static $cuda -o "$work/build/quickstart_c_static"
quietly c++ -std=c++17 -O2 quickstart.cc $shared $cuda -o "$work/build/quickstart_cpp_shared"
for name in quickstart_c_shared quickstart_c_static quickstart_cpp_shared; do
  expect_no_gpu "$work/build/$name"
done

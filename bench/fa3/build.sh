#!/usr/bin/env bash
# Builds FlashAttention-3's bf16 forward kernels for Hopper, and the C function over them that bench/peers.py --fa3
# times, into one shared library that needs neither PyTorch nor its headers.
#
#   git clone https://github.com/Dao-AILab/flash-attention && git -C flash-attention submodule update --init csrc/cutlass
#   bench/fa3/build.sh flash-attention [-o out/fa3/libfa3_peer.so] [-j JOBS]
#
# Nothing in the checkout is changed. Flags are those of its hopper/setup.py; features that no call of ours can reach
# (varlen, paged or split KV, windows, softcap, fp8, ...) are left out by its own switches, which choose what is
# instantiated, not how. Needs nvcc of CUDA 12.8 or newer; each of six files takes some minutes and up to 6 GB of memory.
set -euo pipefail

fail() { echo "build.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout='' output=out/fa3/libfa3_peer.so jobs=2
while (($#)); do
  case $1 in
    -o) output=${2:?-o needs a file}; shift 2 ;;
    -j) jobs=${2:?-j needs a number}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    -*) fail "unknown option $1 (try --help)" ;;
    *) checkout=$1; shift ;;
  esac
done
[[ -n $checkout ]] || fail "which checkout of flash-attention? (try --help)"
hopper=$checkout/hopper cutlass=$checkout/csrc/cutlass/include
[[ -f $hopper/flash_fwd_launch_template.h ]] || fail "no hopper/flash_fwd_launch_template.h in $checkout"
[[ -f $cutlass/cutlass/cutlass.h ]] || fail "no CUTLASS in $checkout/csrc/cutlass: git submodule update --init there"
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[[ -x $nvcc ]] || fail "no nvcc: install the CUDA toolkit, or set NVCC"

commit_of() { { [[ -e $1/.git ]] && git -C "$1" rev-parse --short=12 HEAD; } || echo 'an unknown commit'; }
release=$("$nvcc" --version | sed -n 's/.*release [^V]*V\([0-9.]*\).*/\1/p')
about="FlashAttention-3 at $(commit_of "$checkout"), CUTLASS at $(commit_of "$checkout/csrc/cutlass"), nvcc $release"

flags=(-O3 -std=c++17 --use_fast_math --expt-relaxed-constexpr -gencode arch=compute_90a,code=sm_90a
       -DCUTE_SM90_EXTENDED_MMA_SHAPES_ENABLED -DCUTLASS_ENABLE_GDC_FOR_SM90 -DCUTLASS_DEBUG_TRACE_LEVEL=0 -DNDEBUG
       --cudart static -Xcompiler -fPIC,-fvisibility=hidden -I"$hopper" -I"$cutlass")
for feature in BACKWARD PAGEDKV SPLIT APPENDKV LOCAL SOFTCAP FP16 FP8 VARLEN SM8x; do
  flags+=(-DFLASHATTENTION_DISABLE_$feature)
done

# What is compiled is kept beside the library: a run that was cut goes on where it was, with the same sources alone.
mkdir -p "$(dirname "$output")"
objects=$output.objects
made_from="$about; ${flags[*]}"
[[ -f $objects/made_from && $(<"$objects/made_from") == "$made_from" ]] || rm -rf "$objects"
mkdir -p "$objects"
echo "$made_from" >"$objects/made_from"

compile() {  # source, object, further flags
  local source=$1 object=$2
  shift 2
  echo "compiling $(basename "$source")"
  "$nvcc" "${flags[@]}" "$@" -c "$source" -o "$object.part.o" && mv "$object.part.o" "$object"
}

wanted=()
for dim in 128 64 96; do  # 80 runs as 96
  for variant in '' _packgqa; do
    object=$objects/hdim$dim$variant.o
    wanted+=("$object")
    [[ -f $object ]] && continue
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
    compile "$hopper/instantiations/flash_fwd_hdim${dim}_bf16${variant}_sm90.cu" "$object" &
  done
done
wait
for object in "${wanted[@]}"; do [[ -f $object ]] || fail "$(basename "$object") did not compile"; done
compile "$here/fa3_peer.cu" "$objects/fa3_peer.o" "-DFA3_PEER_ABOUT=\"$about\""

"$nvcc" -shared --cudart static -Xlinker --exclude-libs,ALL,-Bsymbolic,--strip-all,--no-undefined \
  "${wanted[@]}" "$objects/fa3_peer.o" -o "$output"
echo "$output: $(stat -c %s "$output") bytes; $about"

#!/bin/sh
# one_object.sh SYMBOLS OBJECT ARCHIVE...: links what the functions named in the file SYMBOLS need of the archives into one
# object file, of which these functions alone are global. LD, NM and OBJCOPY name the tools.
set -eu
symbols=$1
object=$2
shift 2

# COMDAT groups are dissolved: else the final linker would take a group of the program for one of these, whose names are
# local by then.
roots=$(sed 's/^/--undefined=/' "$symbols")
# shellcheck disable=SC2086
"$LD" -r --force-group-allocation --gc-sections $roots -o "$object" --start-group "$@" --end-group

# objcopy makes GNU's unique symbols local only where they are weak before.
"$NM" "$object" | awk '$2 == "u" {print $3}' >"$object.unique"
"$OBJCOPY" --strip-unneeded "$object"
if [ -s "$object.unique" ]; then "$OBJCOPY" --weaken-symbols="$object.unique" "$object"; fi
"$OBJCOPY" --keep-global-symbols="$symbols" "$object"
rm "$object.unique"

#!/usr/bin/env bash
# The walls of the house: who may include whom (docs/design.md), outside libraries in as few files as possible, every header
# compiles alone and all of them together, file names are unique in the tree.
set -euo pipefail
bad=0
complain() { echo "$1"; bad=1; }

# part: what its files may include from the project
declare -A may=(
	[base]="base"
	[shards]="base shards"
	[ingest]="base shards ingest"
	[loaders]="base shards loaders"
	[kernels]="base kernels"
	[train]="base kernels train"
	[eval]="base kernels train eval"
	[tools]="base shards ingest loaders kernels train eval tools"
)
# the only headers the trainer sees of the loaders
trainer_sees="loaders/batch.h loaders/source.h"

check_include() { # FILE INCLUDED
	local file=$1 included=$2 part=${1%%/*} from=${2%%/*} allowed
	if [[ $part == train || $part == eval ]] && [ "$from" = loaders ]; then
		[[ " $trainer_sees " == *" $included "* ]] || complain "$file includes $included: the trainer sees only $trainer_sees"
		return
	fi
	for allowed in ${may[$part]}; do [ "$from" = "$allowed" ] && break; done
	[ "$from" = "$allowed" ] || complain "$file includes $included: $part may include ${may[$part]}"
	case $included in
	kernels/cpu/* | kernels/cuda/*) [[ $file == "${included%/*}"/* ]] || complain "$file includes $included: only the backend itself may" ;;
	kernels/backend.h) [ "$part" = kernels ] || complain "$file includes $included: only backends may" ;;
	esac
}

files=$(git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' '*.cuh' | grep -E '^(base|shards|ingest|loaders|kernels|train|eval|tools)/')
for file in $files; do
	while read -r included; do check_include "$file" "$included"; done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
done

# An outside library is named where it is used and nowhere else.
library() { # HEADER ALLOWED-FILES-REGEX
	local file
	for file in $(grep -lE "#include <$1" $files || true); do
		[[ $file =~ ^($2)$ ]] || complain "$file includes <$1>: only $2 may"
	done
}
library 'lmdb\.h' 'shards/shard_(writer\.c|reader_internal\.h)'
library 'yaml\.h' 'base/yaml\.c'
library 'sndfile\.h' 'shards/codec_audio\.c|ingest/[a-z_]+\.c'
library 'curl/' 'ingest/[a-z_]+\.c'
library 'zlib\.h' 'ingest/gunzip\.c'
library '(jpeglib|jerror|turbojpeg)\.h' 'shards/codec_jpeg\.c'
library 'png\.h' 'shards/codec_png\.c'
library 'archive' 'ingest/[a-z_]+\.c|shards/export_tar\.c'
library 'cuda' 'kernels/cuda/.*'
library '(oneapi|dnnl)' 'kernels/cpu/.*'

# Every header stands alone. CUDA's are checked against the emulation's, which are there on every machine, as C++ where
# they are that.
for header in $(git ls-files -co --exclude-standard '*.h' '*.cuh'); do
	case $header in
	*.cuh | tests/emulation/include/*)
		compile=(g++ -std=c++17 -Itests/emulation/include -include tests/emulation/include/cuda_runtime.h -Wno-unknown-pragmas -Wno-unused-function -x c++) ;;
	*) compile=(${CC:-gcc} -std=c17 -D_GNU_SOURCE -Itests/emulation/include -x c) ;;
	esac
	"${compile[@]}" -Wall -Wextra -Werror -I. -fsyntax-only "$header" || complain "$header does not compile alone"
done

# And no name means one thing in one header and another thing in another.
together() { sed 's/.*/#include "&"/' | ${CC:-gcc} -std=c17 -D_GNU_SOURCE -Itests/emulation/include -I. -Wall -Wextra -Werror -fsyntax-only -x c -; }
grep -hE '\.h$' <<<"$files" | together || complain "these headers cannot be included together"

duplicates=$(git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' '*.cuh' '*.cc' '*.sh' | sed 's,.*/,,' | sort | uniq -d)
[ -z "$duplicates" ] || complain "file names that are not unique in the tree: $duplicates"

# The test can fail: an include across a wall is noticed, and so is a name with two meanings.
before=$bad
check_include train/example.c shards/record.h >/dev/null
[ "$bad" = 1 ] || { echo "the check itself found nothing wrong with train/ including shards/"; exit 1; }
bad=$before
twice=$(mktemp -d)
trap 'rm -rf "$twice"' EXIT
echo 'typedef int d2v_example;' >"$twice/one.h"
echo 'typedef long d2v_example;' >"$twice/other.h"
! printf '%s\n' "$twice"/*.h | together 2>/dev/null || { echo "the check itself found nothing wrong with a type defined twice"; exit 1; }
exit $bad

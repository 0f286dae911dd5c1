#!/usr/bin/env bash
# FOLDER OUT.tar.gz: packs what `make bundle` built in FOLDER: bin/ (programs), build/ (tests and benchmarks, in the folders
# the scripts expect), lib/ (shared libraries but those of CUDA, the driver and the C library), the golden cases, and
# three scripts, ./check-gpu, ./bench-gpu and ./bench-loader.
set -euo pipefail
from=$1 out=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
to=$dir/d2v
mkdir -p "$to/bin" "$to/lib" "$to/build/tests/kernels" "$to/build/tests/golden" "$to/build/tests/train" "$to/build/tests/gpu" "$to/build/tests/e2e" "$to/build/tools/demo" "$to/tests/golden"
cp "$from"/bin/d2v-* "$to/bin/"
cp "$from/libd2v.so" "$to/lib/"
for program in "$from"/tests/kernels/test_* "$from"/tests/golden/test_* "$from"/tests/train/test_{step_ahead,kept_draws} "$from"/tests/gpu/bench_gpu "$from"/tests/gpu/bench_choices "$from"/tests/gpu/bench_feed \
	"$from"/tests/gpu/look_at_device "$from"/tests/gpu/make_samples "$from"/tools/demo/learn_merges "$from"/tests/e2e/helper_speech_set; do
	case $program in *.o | *.d) continue ;; esac
	cp "$program" "$to/build/${program#"$from"/}"
done
strip "$to"/bin/* "$to"/lib/* $(find "$to/build" -type f)
cp -r tests/golden/data "$to/tests/golden/"
cp tests/gpu/{check_gpu,bench_gpu,bench_loader}.sh "$to/"
# The toolkit's own and the driver's are on the GPU machine; libstdc++, libgomp and libgcc may be older there than ours.
ldd "$to"/lib/libd2v.so "$to"/bin/* "$to"/build/t*/*/* | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u |
	grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux-x86-64|libd2v|libcuda|libcublas|libcublasLt|libcudart|libcudnn|libnccl)\.so' |
	xargs -I{} cp -L {} "$to/lib/"
cat >"$to/check-gpu" <<'SCRIPT'
#!/usr/bin/env bash
cd "$(dirname "$0")" || exit 1
export LD_LIBRARY_PATH=$PWD/lib:${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64
OBJ=$PWD/build BIN=$PWD/bin exec ./check_gpu.sh
SCRIPT
cat >"$to/bench-gpu" <<'SCRIPT'
#!/usr/bin/env bash
cd "$(dirname "$0")" || exit 1
export LD_LIBRARY_PATH=$PWD/lib:${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64
OBJ=$PWD/build BIN=$PWD/bin exec ./bench_gpu.sh "$@"
SCRIPT
cat >"$to/bench-loader" <<'SCRIPT'
#!/usr/bin/env bash
cd "$(dirname "$0")" || exit 1
export LD_LIBRARY_PATH=$PWD/lib:${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64
OBJ=$PWD/build BIN=$PWD/bin exec ./bench_loader.sh "$@"
SCRIPT
chmod +x "$to/check-gpu" "$to/bench-gpu" "$to/bench-loader"
mkdir -p "$(dirname "$out")"
tar -czf "$out" -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner d2v
ls -l "$out" | awk '{ printf "%s: %.1f MB\n", $NF, $5 / 1e6 }'

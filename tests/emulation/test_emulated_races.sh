#!/usr/bin/env bash
# Races are found in kernels that have one, and in no others (race_samples.cu). `make races` looks for them in ours.
set -eu
samples=$OBJ/races/race_samples
[ -x "$samples" ] || { echo "skip: only beside the plain build"; exit 77; }
"$samples"

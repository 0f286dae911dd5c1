#!/usr/bin/env bash
# How fast tiktoken encodes a text on one core: prints "SECONDS TOKENS SUM-OF-IDS", the best of three.
#     tiktoken.sh TEXT GPT2-FOLDER SCRATCH-FOLDER
# tiktoken comes from PyPI into an environment of its own in the scratch folder; the project itself neither has nor needs it. Fails, and says
# why on stderr, when there is no Python or nothing can be fetched.
set -euo pipefail
text=$1 gpt2=$2 scratch=$3
command -v python3 >/dev/null || { echo "no python3" >&2; exit 1; }
[ -d "$scratch/venv" ] || python3 -m venv "$scratch/venv" >&2
timeout 120 "$scratch/venv/bin/pip" install -q --disable-pip-version-check tiktoken >&2
"$scratch/venv/bin/python" - "$text" "$gpt2" <<'PYTHON'
import json, sys, time
import tiktoken

text = open(sys.argv[1], encoding="utf-8", newline="").read()
plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
other = [b for b in range(256) if b not in plain]
byte_of = {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(other)}}
tokens = json.load(open(sys.argv[2] + "/encoder.json"))
ranks = {bytes(byte_of[c] for c in t): i for t, i in tokens.items() if t != "<|endoftext|>"}
pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
encoding = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
best = 1e9
for _ in range(3):
    start = time.process_time()
    ids = encoding.encode_ordinary(text)
    best = min(best, time.process_time() - start)
print(best, len(ids), sum(ids))
PYTHON

#!/usr/bin/env bash
# A disk that fills up: the ingest says so and stops, nothing half-written counts, and with room it goes on to the same bytes.
set -euo pipefail
if [ -z "${D2V_OWN_MOUNTS:-}" ]; then
	# Mounts of our own, so that nothing stays mounted whatever happens; as another user with a user namespace.
	for how in "unshare --mount" "unshare --map-root-user --mount"; do
		if $how sh -c 'mount -t tmpfs -o size=1m none /mnt' 2>/dev/null; then D2V_OWN_MOUNTS=1 exec $how "$0"; fi
	done
	echo "skip: a small file system cannot be mounted here"
	exit 77
fi
. "$(dirname "$0")/lib.sh"
need flac
clean_up_more() { umount -q "$tmp/disk" || true; }

some_speech
ingest=("$BIN/d2v-ingest" librispeech --from "$archive" --shard-size 1M)
expect_exit 0 "${ingest[@]}" --out "$tmp/whole"
needed=$(du -sk "$tmp/whole" | cut -f 1)
mkdir "$tmp/disk"

for percent in 3 20 45 70 96; do
	step "room for $percent % of $needed KiB"
	mount -t tmpfs -o size=$((needed * percent / 100))k none "$tmp/disk"
	expect_exit 1 "${ingest[@]}" --out "$tmp/disk/data"
	expect_said 'space|full|room|disk'
	expect_no_data_set "$tmp/disk/data"
	# What was published is whole.
	(cd "$tmp/disk/data" 2>/dev/null && find . -name '*.mdb') >"$tmp/published" || true
	while read -r shard; do
		cmp "$tmp/disk/data/$shard" "$tmp/whole/$shard" || fail "$shard was published and is not whole"
	done <"$tmp/published"
	echo "$(wc -l <"$tmp/published") shards were published"
	mount -o remount,size=$((needed * 2 + 2048))k "$tmp/disk"
	expect_exit 0 "${ingest[@]}" --out "$tmp/disk/data"
	expect_same_data_set "$tmp/disk/data" "$tmp/whole"
	umount "$tmp/disk"
done

step "a download that has no room is not begun"
mount -t tmpfs -o size=4m none "$tmp/disk"
start_nginx
truncate -s 337926286 "$tmp/www/dev-clean.tar.gz"
expect_exit 1 "$BIN/d2v-ingest" librispeech --splits dev-clean --mirror "$url/plain" --keep-archives --out "$tmp/disk/data"
expect_said 'space|full|room|disk'
expect_no_data_set "$tmp/disk/data"
expect_requests "downloads begun" 0 '^GET .* 20[06] [0-9]\{7,\}'

# An ingest killed at random moments; sourced after lib.sh. Needs the array ingest (a command without --jobs and --out), and
# KILLS and SEED as the tests document them; with JOBS every run has so many. Gives: kill_often, random_below, now_ms, published, expect_kept.
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "SEED=$seed KILLS=$kills"
RANDOM=$seed

random_below() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }
some_jobs() { echo "${JOBS:-$((1 + $(random_below 4)))}"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
published() { # FOLDER: the shards that are there, with their inodes
	(cd "$1" 2>/dev/null && find . -name '*.mdb' -printf '%p %i\n' | LC_ALL=C sort) || true
}

# A kill between a shard and the note that it is there makes a split's last one anew; all others stay as they are.
expect_kept() { # BEFORE FOLDER
	published "$2" >"$tmp/after"
	[ -z "$1" ] || [ -z "$(but_the_last <<<"$1" | grep -vxFf "$tmp/after" || true)" ] || fail "published shards were made again or vanished"
}
but_the_last() { awk -F / '$2 == split_name { print line } { split_name = $2; line = $0 }'; } # of each split

# One run: killed until the dice let it finish. Counts in $killed and $kept.
one_run() { # FOLDER
	local pid chances=$((1 + $(random_below 3))) before delay status
	while [ $chances -gt 0 ]; do
		chances=$((chances - 1))
		before=$(published "$1")
		delay=$(random_below $((took + 1)))
		"${ingest[@]}" --jobs "$(some_jobs)" --out "$1" >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
		status=0
		kill -KILL $pid 2>/dev/null || true
		wait $pid 2>/dev/null || status=$?
		[ $status = 0 ] || [ $status = 137 ] || fail "exit status $status of a run to be killed"
		[ $status = 0 ] || killed=$((killed + 1))
		expect_kept "$before" "$1"
		# A data set is there only when it is whole.
		if [ -e "$1/dataset.json" ]; then cmp "$1/dataset.json" "$tmp/whole/dataset.json" || fail "another manifest"; fi
	done
	before=$(published "$1")
	[ -z "$before" ] || kept=$((kept + $(wc -l <<<"$before")))
	expect_exit 0 "${ingest[@]}" --jobs "$(some_jobs)" --out "$1"
	expect_kept "$before" "$1"
	expect_same_data_set "$1" "$tmp/whole"
}

# $tmp/whole without a kill, of at least SHARDS shards; then as many data sets with kills as KILLS says.
kill_often() { # SHARDS
	local started run shards
	killed=0 kept=0
	step "never killed"
	started=$(now_ms)
	expect_exit 0 "${ingest[@]}" --jobs 2 --out "$tmp/whole"
	took=$(($(now_ms) - started))
	shards=$(published "$tmp/whole" | wc -l)
	[ "$shards" -ge "$1" ] || fail "only $shards shards: the test has nothing to lose between them"
	expect_verified "$tmp/whole"
	echo "$took ms, $shards shards"
	# A machine that has become quicker gets further tries, with shorter lives.
	for ((run = 0; run < kills || (killed == 0 && run < kills + 10); run++)); do
		[ $run -lt "$kills" ] || took=$((took / 2))
		one_run "$tmp/run"
		rm -rf "$tmp/run"
	done
	echo "$run data sets, $killed kills, $kept shards kept over a kill"
	[ $killed -gt 0 ] || fail "no run was killed: the moments are all too late"
}

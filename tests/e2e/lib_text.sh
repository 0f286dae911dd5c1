# Texts for the end-to-end tests; sourced after lib.sh. Gives: documents, subset.
# Documents with blank lines, line ends of all kinds, more than ASCII; COUNT of them as FOLDER/NUMBER-text.txt.
documents() { # FOLDER FIRST COUNT
	local i k
	mkdir -p "$1"
	for i in $(seq "$2" $(($2 + $3 - 1))); do
		for k in $(seq $((i % 7 + 1))); do
			printf 'The thing number %d and the %d other things, n\xc3\xa9e \xe2\x80\x9cthe thing\xe2\x80\x9d.  \r\n\n  and then\r' $i $k
		done >"$1/$(printf %07d "$i")-text.txt"
	done
}
subset() { # NAME FIRST COUNT: as OpenWebText's are, into $tmp/openwebtext
	rm -rf "$tmp/subset"
	documents "$tmp/subset" "$2" "$3"
	mkdir -p "$tmp/openwebtext"
	(cd "$tmp/subset" && tar -c --sort=name --owner=0 --group=0 --mtime=@0 -- *) | xz -1 >"$tmp/openwebtext/$1_data.xz"
}

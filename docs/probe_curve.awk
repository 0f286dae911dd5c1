# Draws how often the probe was right during several runs as an SVG, one line a run, from their metrics.jsonl.
#     awk -v title="Pictures" -f docs/probe_curve.awk RUN-1/metrics.jsonl RUN-2/metrics.jsonl > docs/curve.svg
FNR == 1 { runs++ }
match($0, /"probe": *\{[^}]*\}/) {
	probe = substr($0, RSTART, RLENGTH)
	n = ++count[runs]
	update[runs, n] = number(probe, "update")
	right[runs, n] = 100 * number(probe, "accuracy")
	last = update[runs, n] > last ? update[runs, n] : last
	top = right[runs, n] > top ? right[runs, n] : top
}
function number(text, name) {
	if (!match(text, "\"" name "\": *-?[0-9][-0-9.e+]*"))
		return 0
	text = substr(text, RSTART, RLENGTH)
	sub(/.*: */, "", text)
	return text + 0
}
END {
	split("#1f5fa8 #b3502b #2d8a4e #7a4fa3 #8a7a1f", colour, " ")
	top = 10 * int(top / 10 + 1)
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 480 336\" width=\"480\" height=\"336\">"
	print "<style>text{font:12px sans-serif;fill:#444}.t{font-size:14px;font-weight:bold;fill:#222}.g{stroke:#ddd;fill:none}</style><rect width=\"480\" height=\"336\" fill=\"#fff\"/>"
	printf "<g transform=\"translate(60,44)\"><text x=\"0\" y=\"-14\" class=\"t\">%s: neighbours right, %%</text>\n", title
	for (k = 0; k <= 5; k++) {
		printf "<path d=\"M0 %dH380\" class=\"g\"/><text x=\"-6\" y=\"%d\" text-anchor=\"end\">%.3g</text>", 240 - 48 * k, 244 - 48 * k, top * k / 5
		if (k < 5)
			printf "<text x=\"%d\" y=\"258\" text-anchor=\"middle\">%d</text>\n", 95 * k, last * k / 4
	}
	for (r = 1; r <= runs; r++) {
		points = ""
		for (i = 1; i <= count[r]; i++)
			points = points sprintf("%.1f,%.1f ", 380 * update[r, i] / (last ? last : 1), 240 - 240 * right[r, i] / top)
		printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"/>", points, colour[(r - 1) % 5 + 1]
		printf "<text x=\"376\" y=\"%d\" text-anchor=\"end\" style=\"fill:%s\">run %d</text>\n", 200 + 14 * r, colour[(r - 1) % 5 + 1], r
	}
	print "<text x=\"190\" y=\"276\" text-anchor=\"middle\">update</text></g></svg>"
}

# Draws a run's metrics.jsonl as an SVG: loss, and the spread of predictions and targets (0 would be a collapse).
#     awk -f docs/curve.awk RUN/metrics.jsonl > docs/audio-tiny.svg
function value(name,    at) {
	if (!match($0, "\"" name "\": *-?[0-9][-0-9.e+]*"))
		return "nan"
	at = substr($0, RSTART, RLENGTH)
	sub(/.*: */, "", at)
	return at + 0
}
{ n++; update[n] = value("update"); series["loss", n] = value("loss"); series["pred_var", n] = value("pred_var"); series["target_var", n] = value("target_var") }

function panel(x0, title, names, colours, labels,    i, k, name, part, colour, label, low, high, count, step, y, points) {
	count = split(names, part, " "); split(colours, colour, " "); split(labels, label, "|")
	low = 1e30; high = -1e30
	for (k = 1; k <= count; k++)
		for (i = 1; i <= n; i++) {
			if (series[part[k], i] < low) low = series[part[k], i]
			if (series[part[k], i] > high) high = series[part[k], i]
		}
	if (part[1] != "loss") low = 0
	if (high <= low) high = low + 1
	printf "<g transform=\"translate(%d,44)\"><text x=\"0\" y=\"-14\" class=\"t\">%s</text>\n", x0, title
	for (k = 0; k <= 4; k++) {
		y = 240 - 60 * k
		printf "<path d=\"M0 %dH360\" class=\"g\"/><text x=\"-6\" y=\"%d\" text-anchor=\"end\">%.3g</text>", y, y + 4, low + (high - low) * k / 4
		printf "<text x=\"%d\" y=\"258\" text-anchor=\"middle\">%d</text>\n", 90 * k, update[1] + (update[n] - update[1]) * k / 4
	}
	for (k = 1; k <= count; k++) {
		points = ""
		for (i = 1; i <= n; i++)
			points = points sprintf("%.1f,%.1f ", 360 * (update[i] - update[1]) / (update[n] - update[1] + (n == 1)), 240 - 240 * (series[part[k], i] - low) / (high - low))
		printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"/>", points, colour[k]
		printf "<text x=\"356\" y=\"%d\" text-anchor=\"end\" style=\"fill:%s\">%s</text>\n", 14 + 15 * (k - 1), colour[k], label[k]
	}
	print "<text x=\"180\" y=\"276\" text-anchor=\"middle\">update</text></g>"
}
END {
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 336\" width=\"900\" height=\"336\">"
	print "<style>text{font:12px sans-serif;fill:#444}.t{font-size:14px;font-weight:bold;fill:#222}.g{stroke:#ddd;fill:none}</style><rect width=\"900\" height=\"336\" fill=\"#fff\"/>"
	panel(60, "loss per masked position", "loss", "#1f5fa8", "")
	panel(510, "spread (0 would be a collapse)", "pred_var target_var", "#b4441f #2a7f4f", "predictions|targets")
	print "</svg>"
}

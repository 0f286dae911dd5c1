# Draws a run's metrics.jsonl as an SVG: loss, and the spread of predictions and targets (0 would be a collapse). A run on
# several kinds of data has lines for each of them.
#     awk -f docs/curve.awk RUN/metrics.jsonl > docs/audio-tiny.svg
function value(text, name,    at) {
	if (!match(text, "\"" name "\": *-?[0-9][-0-9.e+]*"))
		return ""
	at = substr(text, RSTART, RLENGTH)
	sub(/.*: */, "", at)
	return at + 0
}
# Takes the values that stand first in `text` for those of a kind of data; "" is the run as a whole.
function take(kind, text,    i) {
	i = ++count[kind]
	update[kind, i] = value($0, "update")
	series[kind, "loss", i] = value(text, "loss"); series[kind, "pred_var", i] = value(text, "pred_var"); series[kind, "target_var", i] = value(text, "target_var")
}
BEGIN { kinds = split("audio image text", kind, " ") }
{
	take("", $0)
	for (k = 1; k <= kinds; k++)
		if (match($0, "\"" kind[k] "\": *{\"updates\""))
			take(kind[k], substr($0, RSTART))
}

# A line of the panel that is drawn next.
function line(kind, name, colour, style, label) {
	lines++
	line_kind[lines] = kind; line_name[lines] = name; line_colour[lines] = colour; line_style[lines] = style; line_label[lines] = label
}
function points_of(l, low, high,    i, y, points) {
	for (i = 1; i <= count[line_kind[l]]; i++) {
		y = series[line_kind[l], line_name[l], i]
		if (y != "")
			points = points sprintf("%.1f,%.1f ", 360 * (update[line_kind[l], i] - first) / (last - first + (last == first)), 240 - 240 * (y - low) / (high - low))
	}
	return points
}
function panel(x0, title, from_zero,    i, k, l, y, low, high) {
	low = 1e30; high = -1e30
	for (l = 1; l <= lines; l++)
		for (i = 1; i <= count[line_kind[l]]; i++) {
			y = series[line_kind[l], line_name[l], i]
			if (y != "" && y < low) low = y
			if (y != "" && y > high) high = y
		}
	if (from_zero) low = 0
	if (high <= low) high = low + 1
	printf "<g transform=\"translate(%d,44)\"><text x=\"0\" y=\"-14\" class=\"t\">%s</text>\n", x0, title
	for (k = 0; k <= 4; k++) {
		y = 240 - 60 * k
		printf "<path d=\"M0 %dH360\" class=\"g\"/><text x=\"-6\" y=\"%d\" text-anchor=\"end\">%.3g</text>", y, y + 4, low + (high - low) * k / 4
		printf "<text x=\"%d\" y=\"258\" text-anchor=\"middle\">%d</text>\n", 90 * k, first + (last - first) * k / 4
	}
	for (l = 1; l <= lines; l++) {
		printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"%s/>", points_of(l, low, high), line_colour[l], line_style[l]
		printf "<text x=\"356\" y=\"%d\" text-anchor=\"end\" style=\"fill:%s\">%s</text>\n", 14 + 15 * (l - 1), line_colour[l], line_label[l]
	}
	print "<text x=\"180\" y=\"276\" text-anchor=\"middle\">update</text></g>"
	lines = 0
}
END {
	first = update["", 1]; last = update["", count[""]]
	split("#1f5fa8 #b4441f #2a7f4f", colour, " ")
	joint = (kind[1] in count) + (kind[2] in count) + (kind[3] in count) > 1
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 336\" width=\"900\" height=\"336\">"
	print "<style>text{font:12px sans-serif;fill:#444}.t{font-size:14px;font-weight:bold;fill:#222}.g{stroke:#ddd;fill:none}</style><rect width=\"900\" height=\"336\" fill=\"#fff\"/>"
	if (!joint)
		line("", "loss", colour[1], "", "")
	for (k = 1; joint && k <= kinds; k++)
		if (kind[k] in count)
			line(kind[k], "loss", colour[k], "", kind[k])
	panel(60, "loss per masked position", 0)
	if (!joint) {
		line("", "pred_var", colour[2], "", "predictions")
		line("", "target_var", colour[3], "", "targets")
	}
	for (k = 1; joint && k <= kinds; k++)
		if (kind[k] in count) {
			line(kind[k], "pred_var", colour[k], "", kind[k] ", predictions")
			line(kind[k], "target_var", colour[k], " stroke-dasharray=\"5 3\"", "targets (dashed)")
		}
	panel(510, "spread (0 would be a collapse)", 1)
	print "</svg>"
}

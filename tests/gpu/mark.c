#include "tests/gpu/mark.h"

#include <stdio.h>

bool mark_is_met(const mark *m) {
	return m->at_most ? m->reached <= m->wanted : m->reached >= m->wanted;
}

const char *mark_text(const mark *m) {
	static char text[64];
	snprintf(text, sizeof text, ", wanted %s%g%s", m->at_most ? "at most " : "", m->wanted,
		mark_is_met(m) ? "" : ": MISSED");
	return text;
}

void mark_print_json(const mark *m) {
	printf("{\"bench\":\"mark\",\"name\":\"%s\",\"unit\":\"%s\",\"reached\":%.6g,\"wanted\":%g,\"at_most\":%s,\"met\":%"
		   "s}\n",
		m->name, m->unit, m->reached, m->wanted, m->at_most ? "true" : "false", mark_is_met(m) ? "true" : "false");
}

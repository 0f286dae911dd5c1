#include "ingest/address.h"

#include "base/memory.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

static bool same_part(CURLU *a, CURLU *b, CURLUPart part) {
	char *left = NULL, *right = NULL;
	bool same = curl_url_get(a, part, &left, CURLU_DEFAULT_PORT) == CURLUE_OK &&
				curl_url_get(b, part, &right, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(left, right) == 0;
	curl_free(left);
	curl_free(right);
	return same;
}

bool d2v_address_same_server(const char *a, const char *b) {
	CURLU *left = curl_url(), *right = curl_url();
	bool same = left && right && curl_url_set(left, CURLUPART_URL, a, 0) == CURLUE_OK &&
				curl_url_set(right, CURLUPART_URL, b, 0) == CURLUE_OK && same_part(left, right, CURLUPART_SCHEME) &&
				same_part(left, right, CURLUPART_HOST) && same_part(left, right, CURLUPART_PORT);
	curl_url_cleanup(left);
	curl_url_cleanup(right);
	return same;
}

static char *part_of(CURLU *parts, CURLUPart part) {
	char *found = NULL, *copy = NULL;
	if (curl_url_get(parts, part, &found, CURLU_URLDECODE) == CURLUE_OK)
		d2v_strdup(&copy, found, NULL);
	curl_free(found);
	return copy;
}

void d2v_address_login(const char *url, char **user, char **password) {
	CURLU *parts = curl_url();
	bool read = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK;
	*user = read ? part_of(parts, CURLUPART_USER) : NULL;
	*password = read ? part_of(parts, CURLUPART_PASSWORD) : NULL;
	curl_url_cleanup(parts);
}

bool d2v_address_is_url(const char *text) {
	return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

const char *d2v_address_public(const char *url, char *out, size_t size) {
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	size_t length = strcspn(host, "/?#");
	const char *user = memrchr(host, '@', length), *from = user ? user + 1 : host;
	snprintf(out, size, "%.*s%.*s", (int)(host - url), url, (int)strcspn(from, "?#"), from);
	return out;
}

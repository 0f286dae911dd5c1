#include "ingest/download.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/signals.h"
#include "base/version.h"
#include "ingest/address.h"
#include "ingest/http_answer.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 20) // curl is told to wait when this much was not fetched from us
#define REDIRECTS_MAX 8
#define CONNECT_SECONDS 30L
#define DELAY_MAX 60.0
#define ERROR_BODY_MAX 65536 // of an answer that is an error: enough to be polite, then the connection is closed
#define POLL_MS 100

struct d2v_download {
	char *url;
	char shown[512];
	char *target;  // where redirects have led; NULL: url
	int redirects; // on the way there
	bool away;     // the target is another server's: no login for it
	char *user, *password;
	d2v_download_options options;
	uint64_t position; // bytes of the file that were handed out, or that the caller has
	bool delivered;    // anything handed out: the version cannot change any more
	d2v_download_version version;
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	char curl_text[CURL_ERROR_SIZE];
	// of the attempt under way
	bool running, paused, finished;
	CURLcode result;
	d2v_http_answer answer;
	bool judged;        // the answer was looked at
	uint64_t skip;      // bytes to throw away: the server ignored Range
	uint64_t discarded; // of the body of an error
	uint64_t brought;   // bytes of use
	d2v_status verdict; // D2V_OK, or why the attempt was broken off by us
	d2v_error why;
	unsigned char *buffer;
	size_t held, capacity;
	bool complete;
	int failures;   // attempts in a row that brought nothing
	bool must_wait; // the last attempt failed, for `why`: a pause is due before the next
	uint64_t tries;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void start_curl(void) {
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

// ---- what curl calls

static size_t on_header(char *line, size_t one, size_t size, void *context) {
	d2v_download *download = context;
	d2v_http_answer_line(&download->answer, line, size * one);
	return size * one;
}

static uint64_t limit_of(const d2v_download *download) {
	return download->options.expected ? download->options.expected
		   : download->version.size   ? download->version.size
									  : download->options.max;
}

static d2v_status check_size(d2v_download *download, uint64_t total, d2v_error *err) {
	if (!total)
		return D2V_OK;
	if (download->options.expected && total != download->options.expected)
		return d2v_fail(err, D2V_NETWORK,
			"%s: the server has %llu bytes, but the file must have %llu: it is another file, or a page that asks for a "
			"login",
			download->shown, (unsigned long long)total, (unsigned long long)download->options.expected);
	if (!download->options.expected && total > download->options.max)
		return d2v_fail(err, D2V_NETWORK, "%s: %llu bytes are more than --max-download %llu", download->shown,
			(unsigned long long)total, (unsigned long long)download->options.max);
	return D2V_OK;
}

// The first byte of a body has come: is it the one we want?
static d2v_status judge(d2v_download *download, d2v_error *err) {
	const d2v_http_answer *answer = &download->answer;
	bool partial = answer->code == 206;
	if (answer->code != 200 && !partial)
		return D2V_OK; // told when the attempt has ended
	uint64_t total = partial ? answer->range_total : answer->length;
	if (partial && answer->range_start != download->position)
		return d2v_fail(err, D2V_NETWORK, "%s: asked for the bytes from %llu on, the server sends those from %llu on",
			download->shown, (unsigned long long)download->position, (unsigned long long)answer->range_start);
	D2V_TRY(check_size(download, total, err));
	const d2v_download_version *old = &download->version;
	bool same = (old->tag[0] ? strcmp(old->tag, answer->tag) == 0 : download->delivered) &&
				(!old->size || !total || old->size == total);
	if (download->position && !same) {
		if (download->delivered || partial)
			return d2v_fail(err, D2V_NETWORK,
				"%s: the file on the server has changed since the download began; run the command again",
				download->shown);
		download->position = 0; // what the caller has is of an older version
	}
	if (!partial)
		download->skip = download->position;
	snprintf(download->version.tag, sizeof download->version.tag, "%s", answer->tag);
	if (total)
		download->version.size = total;
	return D2V_OK;
}

static size_t on_body(char *bytes, size_t one, size_t count, void *context) {
	d2v_download *download = context;
	size_t size = count * one, all = size;
	if (!download->judged) {
		download->judged = true;
		download->verdict = judge(download, &download->why);
	}
	if (download->verdict != D2V_OK)
		return 0;
	if (download->answer.code != 200 && download->answer.code != 206) {
		download->discarded += size;
		return download->discarded > ERROR_BODY_MAX ? 0 : size;
	}
	if (download->held >= BUFFER_BYTES) {
		download->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	size_t skipped = download->skip < size ? (size_t)download->skip : size;
	download->skip -= skipped;
	bytes += skipped, size -= skipped;
	if (download->position + download->held + size > limit_of(download)) {
		download->verdict = d2v_fail(&download->why, D2V_NETWORK, "%s: the server sends more than the %llu bytes %s",
			download->shown, (unsigned long long)limit_of(download),
			limit_of(download) == download->options.max ? "that --max-download allows" : "the file has");
		return 0;
	}
	download->verdict = d2v_reserve(&download->buffer, &download->capacity, download->held + size, 1, &download->why);
	if (download->verdict != D2V_OK)
		return 0;
	memcpy(download->buffer + download->held, bytes, size);
	download->held += size;
	download->brought += size;
	return all;
}

// ---- attempts

static d2v_status add_header(d2v_download *download, const char *line, d2v_error *err) {
	struct curl_slist *longer = curl_slist_append(download->headers, line);
	if (!longer)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory", download->shown);
	download->headers = longer;
	return D2V_OK;
}

static d2v_status set_login(d2v_download *download, d2v_error *err) {
	curl_easy_setopt(download->easy, CURLOPT_USERNAME, download->away ? NULL : download->user);
	curl_easy_setopt(download->easy, CURLOPT_PASSWORD, download->away ? NULL : download->password);
	for (size_t i = 0; !download->away && i < download->options.header_count; i++)
		D2V_TRY(add_header(download, download->options.headers[i], err));
	return D2V_OK;
}

static d2v_status begin_attempt(d2v_download *download, d2v_error *err) {
	char range[64], condition[D2V_DOWNLOAD_TAG + 16];
	CURL *easy = download->easy;
	d2v_http_answer_init(&download->answer);
	download->judged = download->paused = download->finished = false;
	download->skip = download->discarded = download->brought = 0;
	download->verdict = D2V_OK;
	download->curl_text[0] = '\0';
	curl_slist_free_all(download->headers);
	download->headers = NULL;
	curl_easy_setopt(easy, CURLOPT_URL, download->target ? download->target : download->url);
	D2V_TRY(set_login(download, err));
	if (download->position) {
		snprintf(range, sizeof range, "%llu-", (unsigned long long)download->position);
		curl_easy_setopt(easy, CURLOPT_RANGE, range);
		if (download->version.tag[0]) {
			snprintf(condition, sizeof condition, "If-Range: %s", download->version.tag);
			D2V_TRY(add_header(download, condition, err));
		}
	} else
		curl_easy_setopt(easy, CURLOPT_RANGE, NULL);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, download->headers);
	if (curl_multi_add_handle(download->multi, easy) != CURLM_OK)
		return d2v_fail(err, D2V_NETWORK, "%s: libcurl cannot start", download->shown);
	download->running = true;
	download->tries++;
	return D2V_OK;
}

static void end_attempt(d2v_download *download) {
	if (download->running)
		curl_multi_remove_handle(download->multi, download->easy);
	download->running = false;
}

static d2v_status http_problem(const d2v_download *download, d2v_error *err) {
	long code = download->answer.code;
	const char *advice = "try again later, or fetch it by hand and give the file with --from";
	if ((code == 401 || code == 403) && download->away)
		return d2v_fail(err, D2V_NETWORK,
			"%s: leads to another server, which refuses (%ld) and is not sent the login; give the address that it "
			"leads to, or fetch the file by hand and give it with --from",
			download->shown, code);
	if ((code == 401 || code == 403) && (download->options.header_count || download->user))
		return d2v_fail(err, D2V_NETWORK,
			"%s: the server refuses (%ld) the login it was given: it may have run out, or a licence is to be accepted "
			"first; get a new one, or fetch the file by hand and give it with --from",
			download->shown, code);
	if (code == 401 || code == 403)
		return d2v_fail(err, D2V_NETWORK,
			"%s: the server refuses (%ld): it wants a login, or a licence accepted first; give yours with --header, "
			"--cookie or --token (or D2V_HEADER, D2V_COOKIE, D2V_TOKEN in the environment), or fetch the file by hand "
			"and give it with --from",
			download->shown, code);
	if (code == 404 || code == 410)
		return d2v_fail(err, D2V_NETWORK,
			"%s: not there (%ld): check the address, or name another server with --mirror", download->shown, code);
	return d2v_fail(err, D2V_NETWORK, "%s: the server answers %ld: %s", download->shown, code, advice);
}

static bool may_get_better(const d2v_download *download) {
	long code = download->answer.code;
	if (code >= 400)
		return code == 408 || code == 425 || code == 429 || code >= 500;
	switch (download->result) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_OUT_OF_MEMORY:
		return false;
	default:
		return true;
	}
}

// ---- redirects

static bool is_redirect(const d2v_download *download) {
	long code = download->answer.code;
	return code == 301 || code == 302 || code == 303 || code == 307 || code == 308;
}

// What the server names becomes the target of the next attempt.
static d2v_status follow(d2v_download *download, d2v_error *err) {
	char *to = NULL;
	curl_easy_getinfo(download->easy, CURLINFO_REDIRECT_URL, &to);
	if (!to)
		return d2v_fail(err, D2V_NETWORK, "%s: the server redirects (%ld) and does not say where to", download->shown,
			download->answer.code);
	if (!d2v_address_is_url(to))
		return d2v_fail(err, D2V_NETWORK, "%s: the server redirects to another protocol than http and https: %.200s",
			download->shown, to);
	if (download->redirects == REDIRECTS_MAX)
		return d2v_fail(err, D2V_NETWORK, "%s: more than %d redirects", download->shown, REDIRECTS_MAX);
	char *target;
	D2V_TRY(d2v_strdup(&target, to, err));
	d2v_free(download->target);
	download->target = target;
	download->redirects++;
	download->away = download->away || !d2v_address_same_server(download->url, target);
	return D2V_OK;
}

// The next attempt begins where the user said.
static void forget_redirects(d2v_download *download) {
	d2v_free(download->target);
	download->target = NULL;
	download->redirects = 0;
	download->away = false;
}

// ---- the end of an attempt

// The attempt has ended: the file is complete, or there is a reason to try again (D2V_OK in both cases), or to give up.
static d2v_status settle(d2v_download *download, d2v_error *err) {
	long code = download->answer.code;
	uint64_t wanted = download->options.expected ? download->options.expected : download->version.size;
	end_attempt(download);
	if (download->verdict != D2V_OK) {
		*err = download->why;
		return download->verdict;
	}
	if (is_redirect(download))
		return follow(download, err);
	if (download->result == CURLE_OK && !download->judged && (code == 200 || code == 206))
		D2V_TRY(judge(download, err)); // an empty body
	bool answered = download->result == CURLE_OK && (code == 200 || code == 206);
	if (answered && !download->skip && (!wanted || download->position + download->held == wanted)) {
		download->complete = true;
		return D2V_OK;
	}
	if (code >= 300 || answered)
		(void)http_problem(download, err);
	else
		d2v_fail(err, D2V_NETWORK, "%s: %s", download->shown,
			download->curl_text[0] ? download->curl_text : curl_easy_strerror(download->result));
	if (answered || (code < 300 && download->result == CURLE_OK))
		d2v_fail(err, D2V_NETWORK, "%s: the server ended after %llu of %llu bytes", download->shown,
			(unsigned long long)(download->position + download->held), (unsigned long long)wanted);
	if (!may_get_better(download))
		return err->status;
	download->failures = download->brought ? 0 : download->failures + 1;
	if (download->failures > download->options.retries) {
		char text[D2V_ERROR_TEXT];
		snprintf(text, sizeof text, "%s", err->text);
		return d2v_fail(err, D2V_NETWORK, "%s (tried %llu times); run the same command again later", text,
			(unsigned long long)download->tries);
	}
	download->why = *err;
	download->must_wait = true;
	forget_redirects(download);
	return D2V_OK;
}

static d2v_status wait_before_retry(d2v_download *download, d2v_error *err) {
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(d2v_hash64(download->url, strlen(download->url)), D2V_RANDOM_RETRY,
								  download->tries, (uint64_t)getpid()));
	double delay = download->options.retry_delay;
	for (int i = 1; i < download->failures && delay < DELAY_MAX; i++)
		delay *= 2;
	delay = (delay < DELAY_MAX ? delay : DELAY_MAX) * (0.5 + 0.5 * d2v_random_unit(&random));
	d2v_warn("%s; trying again in %.1f s", download->why.text, delay);
	download->must_wait = false;
	for (double until = d2v_clock() + delay; d2v_clock() < until;) {
		if (d2v_signals_asked())
			return d2v_fail(err, D2V_INTERRUPTED, "%s: interrupted", download->shown);
		nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
	}
	return D2V_OK;
}

// Lets curl work until there is something to hand out or the attempt has ended.
static d2v_status pump(d2v_download *download, d2v_error *err) {
	double quiet_since = d2v_clock();
	uint64_t discarded = download->skip + download->discarded;
	while (!download->finished && !download->held) {
		if (d2v_signals_asked())
			return d2v_fail(err, D2V_INTERRUPTED, "%s: interrupted", download->shown);
		int active, left;
		if (download->paused) {
			download->paused = false;
			curl_easy_pause(download->easy, CURLPAUSE_CONT);
		}
		curl_multi_perform(download->multi, &active);
		for (CURLMsg *message; (message = curl_multi_info_read(download->multi, &left));)
			if (message->msg == CURLMSG_DONE) {
				download->finished = true;
				download->result = message->data.result;
			}
		if (download->finished || download->held)
			break;
		if (download->skip + download->discarded != discarded) {
			discarded = download->skip + download->discarded;
			quiet_since = d2v_clock();
		}
		if (d2v_clock() - quiet_since > download->options.stall) {
			download->finished = true;
			download->result = CURLE_OPERATION_TIMEDOUT;
			snprintf(
				download->curl_text, sizeof download->curl_text, "no byte for %.0f seconds", download->options.stall);
			break;
		}
		curl_multi_poll(download->multi, NULL, 0, POLL_MS, NULL);
	}
	return D2V_OK;
}

d2v_status d2v_download_read(d2v_download *download, const void **bytes, size_t *size, uint64_t *at, d2v_error *err) {
	d2v_error local;
	if (!err)
		err = &local;
	download->held = 0;
	while (!download->complete && !download->held) {
		if (download->must_wait)
			D2V_TRY(wait_before_retry(download, err));
		if (!download->running)
			D2V_TRY(begin_attempt(download, err));
		D2V_TRY(pump(download, err));
		if (download->finished)
			D2V_TRY(settle(download, err));
	}
	*bytes = download->buffer;
	*size = download->held;
	*at = download->position;
	download->position += download->held;
	download->delivered |= download->held > 0;
	return D2V_OK;
}

// ---- life

static d2v_status set_up(d2v_download *download, d2v_error *err) {
	pthread_once(&curl_once, start_curl);
	download->multi = curl_multi_init();
	download->easy = curl_easy_init();
	if (!download->multi || !download->easy)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: libcurl cannot start", download->shown);
	CURL *easy = download->easy;
	// Apart from the address, so that they can be left out where a redirect leads elsewhere.
	d2v_address_login(download->url, &download->user, &download->password);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "d2v-ingest/" D2V_VERSION);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, download->curl_text);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, download);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, download);
	return D2V_OK;
}

d2v_status d2v_download_open(d2v_download **opened, const char *url, const d2v_download_options *options,
	uint64_t start, const d2v_download_version *version, d2v_error *err) {
	d2v_download *download;
	*opened = NULL;
	D2V_TRY(d2v_alloc_zero(&download, 1, sizeof *download, err));
	download->options = *options;
	download->position = start;
	if (version)
		download->version = *version;
	d2v_address_public(url, download->shown, sizeof download->shown);
	d2v_status status = d2v_strdup(&download->url, url, err);
	if (status == D2V_OK)
		status = set_up(download, err);
	if (status != D2V_OK)
		d2v_download_close(download);
	else
		*opened = download;
	return status;
}

const d2v_download_version *d2v_download_version_of(const d2v_download *download) {
	return &download->version;
}

uint64_t d2v_download_total(const d2v_download *download) {
	return download->version.size ? download->version.size : download->options.expected;
}

void d2v_download_close(d2v_download *download) {
	if (!download)
		return;
	end_attempt(download);
	if (download->easy)
		curl_easy_cleanup(download->easy);
	if (download->multi)
		curl_multi_cleanup(download->multi);
	curl_slist_free_all(download->headers);
	d2v_free(download->user);
	d2v_free(download->password);
	d2v_free(download->target);
	d2v_free(download->buffer);
	d2v_free(download->url);
	d2v_free(download);
}

// ---- a file whole

d2v_status d2v_download_whole(
	const char *url, const d2v_download_options *options, uint64_t max, char **bytes, size_t *size, d2v_error *err) {
	d2v_download_options how = *options;
	d2v_download *download;
	const void *block;
	size_t got, capacity = 0;
	uint64_t at; // where bytes end: what was begun with nothing is never begun anew
	how.expected = 0;
	how.max = max;
	*bytes = NULL;
	*size = 0;
	D2V_TRY(d2v_download_open(&download, url, &how, 0, NULL, err));
	d2v_status status;
	while ((status = d2v_download_read(download, &block, &got, &at, err)) == D2V_OK && got) {
		D2V_ASSERT(at == *size);
		status = d2v_reserve(bytes, &capacity, *size + got + 1, 1, err);
		if (status != D2V_OK)
			break;
		memcpy(*bytes + *size, block, got);
		*size += got;
		(*bytes)[*size] = '\0';
	}
	d2v_download_close(download);
	if (status == D2V_OK)
		return D2V_OK;
	d2v_free(*bytes);
	*bytes = NULL;
	*size = 0;
	return status;
}

// An HTTP server that behaves badly on purpose; what a well-behaved nginx will not do.
//     helper_bad_server FOLDER LOG
// Listens on a free port of 127.0.0.1, prints the port, serves one connection after the other. The path is
// /MODE/N/FILE:
//     ok          the file, Range honoured
//     drop        after N bytes of the body the connection is reset; Range honoured
//     ignore      the first time as drop; then whole, with Range ignored (200)
//     changed     as drop, but each answer has another ETag and Range is ignored
//     replaced    the first time as drop, then 206 with the rest under another ETag, whatever If-Range asks
//     offbyone    the first time as drop; then 206 with bytes that begin one after those asked for
//     short       Content-Length: N, N bytes, a clean end
//     close       no Content-Length, N bytes, a clean end
//     endless     no Content-Length, the file, then zeros for ever
//     stall       after N bytes silence until the client goes; Range honoured
//     silent      no answer at all until the client goes
//     headers     header lines for ever
//     busy        the first N times 503, then as ok
// "The first time" is that of the whole path, with what follows the question mark.
// LOG gets a line per request: /MODE/N/FILE and the first byte asked for by Range (- without).
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 8192
#define PATHS_MAX 64

typedef struct request {
	char path[512], mode[32], name[256];
	size_t n;    // the number in the path
	bool ranged; // asks for the bytes from `start` on
	size_t start;
	unsigned times; // how often this path was asked for before
} request;

typedef struct document {
	char *bytes;
	size_t size;
} document;

static const char *folder;

static unsigned times_asked(const char *path) {
	static struct {
		char path[512];
		unsigned times;
	} seen[PATHS_MAX];
	for (size_t i = 0; i < PATHS_MAX; i++) {
		if (!seen[i].path[0])
			snprintf(seen[i].path, sizeof seen[i].path, "%s", path);
		if (strcmp(seen[i].path, path) == 0)
			return seen[i].times++;
	}
	return 0;
}

static bool read_request(int client, request *asked) {
	char text[REQUEST_MAX];
	size_t held = 0;
	memset(asked, 0, sizeof *asked);
	while (held < sizeof text - 1) {
		ssize_t got = read(client, text + held, sizeof text - 1 - held);
		if (got <= 0)
			return false;
		held += (size_t)got;
		text[held] = '\0';
		if (strstr(text, "\r\n\r\n"))
			break;
	}
	if (sscanf(text, "%*s %511s", asked->path) != 1 ||
		sscanf(asked->path, "/%31[^/]/%zu/%255[^?]", asked->mode, &asked->n, asked->name) != 3)
		return false;
	const char *range = strcasestr(text, "\r\nRange: bytes=");
	asked->ranged = range && sscanf(range, "\r\n%*[^=]=%zu", &asked->start) == 1;
	asked->times = times_asked(asked->path);
	return true;
}

static bool load(const char *name, document *out) {
	char path[1024];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *file = fopen(path, "rb");
	if (!file || fseek(file, 0, SEEK_END) != 0)
		return false;
	out->size = (size_t)ftell(file);
	out->bytes = malloc(out->size + 1);
	rewind(file);
	bool whole = out->bytes && fread(out->bytes, 1, out->size, file) == out->size;
	fclose(file);
	return whole;
}

static bool send_bytes(int client, const char *bytes, size_t size) {
	while (size) {
		ssize_t sent = write(client, bytes, size);
		if (sent <= 0)
			return false;
		bytes += sent, size -= (size_t)sent;
	}
	return true;
}

static bool send_text(int client, const char *text) {
	return send_bytes(client, text, strlen(text));
}

static void wait_until_gone(int client) {
	struct pollfd gone = { .fd = client, .events = POLLRDHUP };
	char byte;
	while (poll(&gone, 1, -1) >= 0 && !(gone.revents & (POLLRDHUP | POLLHUP | POLLERR)) && read(client, &byte, 1) > 0) {
	}
}

// Until the other side has what was sent: a reset throws away what is still on its way.
static void wait_until_there(int client) {
	struct pollfd gone = { .fd = client, .events = POLLRDHUP };
	int unconfirmed;
	while (ioctl(client, SIOCOUTQ, &unconfirmed) == 0 && unconfirmed && poll(&gone, 1, 1) == 0) {
	}
}

static void reset(int client) {
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	wait_until_there(client);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

// Status line, headers and as much of the body as `most` allows. Returns whether all of it was sent.
static bool send_document(
	int client, const request *asked, const document *file, bool partial, size_t start, size_t most) {
	char headers[1024];
	bool drops = strcmp(asked->mode, "changed") == 0 || strcmp(asked->mode, "replaced") == 0;
	int at = snprintf(headers, sizeof headers, "HTTP/1.1 %s\r\nConnection: close\r\nETag: \"%u-%zu\"\r\n",
		partial ? "206 Partial Content" : "200 OK", drops ? asked->times : 0, file->size);
	if (partial)
		at += snprintf(headers + at, sizeof headers - (size_t)at, "Content-Range: bytes %zu-%zu/%zu\r\n", start,
			file->size - 1, file->size);
	snprintf(headers + at, sizeof headers - (size_t)at, "Accept-Ranges: bytes\r\nContent-Length: %zu\r\n\r\n",
		file->size - start);
	size_t rest = file->size - start, size = most < rest ? most : rest;
	return send_text(client, headers) && send_bytes(client, file->bytes + start, size) && size == rest;
}

static void send_endless(int client) {
	static const char zeros[65536];
	while (send_bytes(client, zeros, sizeof zeros)) {
	}
}

static void send_headers_for_ever(int client) {
	if (send_text(client, "HTTP/1.1 200 OK\r\n"))
		while (send_text(client, "X-More: abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\r\n")) {
		}
}

static void answer(int client, const request *asked, const document *file) {
	char headers[256];
	const char *mode = asked->mode;
	bool first = asked->times == 0;
	bool partial = asked->ranged && asked->start < file->size;
	size_t start = partial ? asked->start : 0;
	if (strcmp(mode, "ok") == 0) {
		send_document(client, asked, file, partial, start, SIZE_MAX);
	} else if (strcmp(mode, "drop") == 0 || (first && (strcmp(mode, "ignore") == 0 || strcmp(mode, "replaced") == 0 ||
														  strcmp(mode, "offbyone") == 0))) {
		if (!send_document(client, asked, file, partial, start, asked->n))
			reset(client);
	} else if (strcmp(mode, "ignore") == 0) {
		send_document(client, asked, file, false, 0, SIZE_MAX);
	} else if (strcmp(mode, "changed") == 0) {
		send_document(client, asked, file, false, 0, asked->n);
		reset(client);
	} else if (strcmp(mode, "replaced") == 0) {
		send_document(client, asked, file, partial, start, SIZE_MAX);
	} else if (strcmp(mode, "offbyone") == 0) {
		send_document(client, asked, file, partial, partial ? start + 1 : 0, SIZE_MAX);
	} else if (strcmp(mode, "short") == 0 || strcmp(mode, "close") == 0) {
		snprintf(
			headers, sizeof headers, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", asked->n);
		send_text(client, strcmp(mode, "short") == 0 ? headers : "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
		send_bytes(client, file->bytes, asked->n < file->size ? asked->n : file->size);
	} else if (strcmp(mode, "endless") == 0) {
		send_text(client, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
		send_bytes(client, file->bytes, file->size);
		send_endless(client);
	} else if (strcmp(mode, "stall") == 0) {
		if (!send_document(client, asked, file, partial, start, asked->n))
			wait_until_gone(client);
	} else if (strcmp(mode, "silent") == 0) {
		wait_until_gone(client);
	} else if (strcmp(mode, "headers") == 0) {
		send_headers_for_ever(client);
	} else if (strcmp(mode, "busy") == 0 && asked->times >= asked->n) {
		send_document(client, asked, file, partial, start, SIZE_MAX);
	} else {
		send_text(client, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	}
}

static void serve(int client, FILE *log) {
	request asked;
	document file = { 0 };
	if (!read_request(client, &asked))
		return;
	if (asked.ranged)
		fprintf(log, "%s %zu\n", asked.path, asked.start);
	else
		fprintf(log, "%s -\n", asked.path);
	fflush(log);
	if (load(asked.name, &file))
		answer(client, &asked, &file);
	else
		send_text(client, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	free(file.bytes);
}

int main(int argc, char **argv) {
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof address;
	FILE *log = argc == 3 ? fopen(argv[2], "w") : NULL;
	if (!log)
		return fprintf(stderr, "usage: helper_bad_server FOLDER LOG\n"), 2;
	folder = argv[1];
	signal(SIGPIPE, SIG_IGN);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0 ||
		getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return perror("helper_bad_server"), 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		int client = accept(listener, NULL, NULL);
		if (client < 0)
			continue;
		serve(client, log);
		close(client);
	}
}

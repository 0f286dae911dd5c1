// An http(s) address: whether a text is one, what of it may be shown, whom it leads to.
//
// Threads: plain functions on plain values.
#ifndef D2V_INGEST_ADDRESS_H
#define D2V_INGEST_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

bool d2v_address_is_url(const char *text);
// The address as it may be shown and stored: without user and password, and without what follows a question mark, since
// signed addresses carry their keys there. Returns out.
const char *d2v_address_public(const char *url, char *out, size_t size);
// Scheme, host and port are the same, ports that are not written included.
bool d2v_address_same_server(const char *a, const char *b);
// Copies of the user and password that the address has, decoded; NULL when it has none. The caller's: d2v_free.
void d2v_address_login(const char *url, char **user, char **password);

#endif

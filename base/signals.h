// SIGINT, SIGTERM and SIGHUP (the terminal is gone; not when nohup had it ignored) ask politely: they set a flag that long
// work looks at between records or steps. A second one ends the process at once with 130. Installed by tools, never by the
// library.
#ifndef D2V_BASE_SIGNALS_H
#define D2V_BASE_SIGNALS_H

#include <stdbool.h>

void d2v_signals_install(void);
bool d2v_signals_asked(void);
void d2v_signals_ask(void); // what a signal does; for tests

#endif

// SIGINT, SIGTERM and SIGHUP (the terminal is gone; not when nohup had it ignored) ask politely: they set a flag that long
// work looks at between records or steps. A second one ends the process at once with 130. Installed by tools, never by the
// library, from the main thread.
//
// The handler has a stack of its own. It needs one: the AVX kernels of oneDNN's sgemm work with the stack pointer at the
// beginning of a buffer on the heap, and a handler without SA_ONSTACK writes its frame over whatever lies before that. A
// program that embeds the library and handles signals wants the same.
#ifndef D2V_BASE_SIGNALS_H
#define D2V_BASE_SIGNALS_H

#include <stdbool.h>

void d2v_signals_install(void);
// What every command wants, whether it can be asked to stop or not. A write beyond `ulimit -f` fails as on a full disk, with
// words and with nothing half written, instead of killing (SIGXFSZ). Reading a mapped file whose disk fails, or which
// somebody cuts off meanwhile, ends the process with a sentence and 3 (SIGBUS).
void d2v_signals_explain(void);
bool d2v_signals_asked(void);
void d2v_signals_ask(void); // what a signal does; for tests

#endif

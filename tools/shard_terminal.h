// Pictures in a terminal: two pixels a character, one above the other, as the upper half block's two colours.
#ifndef D2V_TOOLS_SHARD_TERMINAL_H
#define D2V_TOOLS_SHARD_TERMINAL_H

#include "tools/shard_picture.h"

// True when stdout is a terminal that says that it knows 24-bit colours (COLORTERM), letters beyond ASCII are to be
// expected, and the user has not asked for none (NO_COLOR).
bool shard_terminal_can_draw(void);
// What there is room for, in pixels; 80 x 40 where nothing is known.
void shard_terminal_room(uint32_t *width, uint32_t *height);
// Prints the picture on stdout, made smaller when there is no room for it.
d2v_status shard_terminal_draw(const shard_picture *picture, d2v_error *err);

#endif

#include "tools/shard_terminal.h"

#include "tools/shard_histogram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_MAX 120u
#define ROWS_BESIDE 8u // of the terminal, which stay for what is said about the picture

bool shard_terminal_can_draw(void) {
	const char *colours = getenv("COLORTERM"), *none = getenv("NO_COLOR");
	return isatty(STDOUT_FILENO) && colours && (strcmp(colours, "truecolor") == 0 || strcmp(colours, "24bit") == 0) &&
		   !(none && *none) && shard_histogram_unicode();
}

void shard_terminal_room(uint32_t *width, uint32_t *height) {
	struct winsize window = { 0 };
	*width = 80;
	*height = 40;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col < 20 || window.ws_row < ROWS_BESIDE + 4)
		return;
	*width = window.ws_col < WIDTH_MAX ? window.ws_col : WIDTH_MAX;
	*height = 2 * (window.ws_row - ROWS_BESIDE);
}

static void print_row(const shard_picture *picture, uint32_t y) {
	const uint8_t *top = picture->rgb + (size_t)y * picture->width * 3, *bottom = top + (size_t)picture->width * 3;
	bool has_bottom = y + 1 < picture->height;
	for (uint32_t x = 0; x < picture->width; x++, top += 3, bottom += 3) {
		printf("\033[38;2;%u;%u;%um", top[0], top[1], top[2]);
		if (has_bottom)
			printf("\033[48;2;%u;%u;%um", bottom[0], bottom[1], bottom[2]);
		fputs("▀", stdout);
	}
	fputs("\033[0m\n", stdout);
}

d2v_status shard_terminal_draw(const shard_picture *picture, d2v_error *err) {
	shard_picture small;
	uint32_t width = picture->width, height = picture->height, max_width, max_height;
	shard_terminal_room(&max_width, &max_height);
	shard_picture_fit(&width, &height, max_width, max_height);
	D2V_TRY(shard_picture_resize(picture, width, height, &small, err));
	for (uint32_t y = 0; y < height; y += 2)
		print_row(&small, y);
	shard_picture_release(&small);
	return D2V_OK;
}

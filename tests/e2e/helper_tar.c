// Writes one tar member, true or not, to standard output: archives that no tar program would make.
//     helper_tar NAME TYPE SIZE CONTENT [LINK]
// TYPE is the header's type flag (0 file, 1 hard link, 2 symbolic link, 3 device, 6 pipe, x, L, ...), SIZE what the
// header states
// (- for the truth), CONTENT a file or - for none. `helper_tar end` writes the two blocks that end an archive.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512

static void put_size(unsigned char *field, uint64_t size) { // octal, or base 256 when that has no room
	if (size < (uint64_t)1 << 33) {
		char text[13];
		snprintf(text, sizeof text, "%011llo", (unsigned long long)size);
		memcpy(field, text, 12);
		return;
	}
	field[0] = 0x80;
	for (int i = 11; i > 3; i--, size >>= 8)
		field[i] = (unsigned char)(size & 255);
}

int main(int argc, char **argv) {
	unsigned char header[BLOCK] = { 0 }, block[2 * BLOCK] = { 0 };
	if (argc == 2 && strcmp(argv[1], "end") == 0)
		return fwrite(block, 1, sizeof block, stdout) != sizeof block;
	if (argc < 5 || strlen(argv[1]) > 100)
		return fprintf(stderr, "usage: helper_tar NAME TYPE SIZE CONTENT [LINK]\n"), 2;
	FILE *content = strcmp(argv[4], "-") == 0 ? NULL : fopen(argv[4], "rb");
	if (!content && strcmp(argv[4], "-") != 0)
		return perror(argv[4]), 1;
	uint64_t size = 0;
	if (content) {
		fseek(content, 0, SEEK_END);
		size = (uint64_t)ftell(content);
		rewind(content);
	}
	if (strcmp(argv[3], "-") != 0)
		size = strtoull(argv[3], NULL, 10);
	memcpy(header, argv[1], strlen(argv[1]));
	memcpy(header + 100, "0000644\0000000000\0000000000", 23); // mode, owner, group
	put_size(header + 124, size);
	memcpy(header + 136, "11700000000", 11);
	header[156] = (unsigned char)argv[2][0];
	if (argc > 5)
		memcpy(header + 157, argv[5], strnlen(argv[5], 100));
	memcpy(header + 257, "ustar\00000", 8);
	memset(header + 148, ' ', 8);
	unsigned sum = 0;
	for (int i = 0; i < BLOCK; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
	fwrite(header, 1, BLOCK, stdout);
	while (content && (size = fread(block, 1, BLOCK, content)) > 0) {
		memset(block + size, 0, BLOCK - size);
		fwrite(block, 1, BLOCK, stdout);
	}
	return fflush(stdout) != 0;
}

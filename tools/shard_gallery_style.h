// How a gallery looks: its style sheet.
#ifndef D2V_TOOLS_SHARD_GALLERY_STYLE_H
#define D2V_TOOLS_SHARD_GALLERY_STYLE_H

extern const char shard_gallery_style[];

#endif

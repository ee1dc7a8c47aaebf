/*
 * The files of the interactive page, as they are served: ours (server/page) and those of Swagger UI. They are
 * compiled into the program from a table that tools/web/pack writes; it is short, and the page another one,
 * where Swagger UI was not installed at build time (docs/web-page.md).
 *
 * Threading: constant.
 */
#ifndef SERVER_PAGE_ASSETS_H
#define SERVER_PAGE_ASSETS_H

#include "codec/base/slice.h"

struct page_asset {
    const char *name; /* "" is the page itself */
    const char *content_type;
    const char *tag; /* of the bytes: 32 hexadecimal digits */
    struct slice identity;
    struct slice gzip; /* the same bytes, compressed */
};

extern const struct page_asset page_assets[];
extern const size_t page_asset_count;

#endif

/*
 * Whole messages over a blocking socket: read and write all of it, or say why not.
 * Threading: plain functions.
 */
#ifndef STORAGE_FRAME_H
#define STORAGE_FRAME_H

#include "codec/base/buffer.h"

/* STATUS_NOT_FOUND (without a text): the peer closed before the first byte. */
NODISCARD enum status frame_read(int fd, void *target, size_t size, struct error *error);
NODISCARD enum status frame_write(int fd, struct slice data, struct error *error);

/* "DIR/control.sock" as an address; STATUS_TOO_LARGE if the path does not fit (107 bytes). */
struct sockaddr_un;
NODISCARD enum status frame_address(const char *dir, struct sockaddr_un *ret_address, struct error *error);

#endif

/*
 * Folders of backups and data directories, as far as backup and restore share them.
 *
 * Threading: plain functions.
 */
#ifndef TOOLS_BACKUP_FOLDER_H
#define TOOLS_BACKUP_FOLDER_H

#include "codec/base/buffer.h"
#include "codec/base/status.h"

/* mkdir (0700); STATUS_EXISTS if it is there. */
NODISCARD enum status folder_make(const char *path, struct error *error);
/* The same; it may be there. */
NODISCARD enum status folder_need(const char *path, struct error *error);
/* Syncs a folder and all folders in it: names become durable. */
NODISCARD enum status folder_sync_all(const char *path, struct error *error);
/* Removes it with all that is in it, following no symbolic link. Nothing there is fine. */
NODISCARD enum status folder_remove_all(const char *path, struct error *error);
/* True if every name in it is one of `names` (NULL at the end). False if it cannot be read. */
bool folder_has_only(const char *path, const char *const *names);
/* An flock on it, until the descriptor is closed. STATUS_BUSY if somebody has one. */
NODISCARD enum status folder_lock(const char *path, int *ret_fd, struct error *error);
/* "DIR/name", NUL-terminated; in the buffer, which is emptied first. */
const char *folder_path(struct buffer *target, const char *dir, const char *name);

#endif

/*
 * Public data that tests read from beside the repository: ../shared, or what SLUICE_SHARED names. A test that
 * needs it fails with a message that says so when it is absent.
 *
 * Threading: one thread at a time.
 */
#ifndef TESTS_SUPPORT_SHARED_DATA_H
#define TESTS_SUPPORT_SHARED_DATA_H

#include "codec/base/buffer.h"

/* Appends the contents of data/<name>, inflated if it is gzip. Fails the running cmocka test otherwise. */
void shared_data_read(const char *name, struct buffer *target);

/* Calls `visit` for each file of the folder data/<name>, in the order of their names. */
void shared_data_each(const char *name, void (*visit)(void *context, const char *name, struct slice contents),
                      void *context);

#endif

/*
 * A FHIR Bundle, as an import takes it apart: the resources of its entries, and the deletions that entries
 * ask for (request.method DELETE; Bundle.entry.request, STU3 and R4). One pass, no tree.
 *
 * An entry with neither gives nothing. One with both is a deletion. A Bundle in a Bundle is a resource.
 *
 * The time of a deletion is its entry's response.lastModified, else the Bundle's meta.lastUpdated, else its
 * timestamp; as text, unchecked.
 *
 * Threading: a bundle belongs to one thread at a time.
 */
#ifndef CODEC_BUNDLE_H
#define CODEC_BUNDLE_H

#include "codec/base/arena.h"
#include "codec/base/buffer.h"
#include "codec/base/status.h"

#include <stdint.h>

#define BUNDLE_ENTRIES_MAX ((size_t)1024 * 1024) /* with a resource or a deletion */

struct bundle_entry {
    uint64_t number; /* among all entries, from 1 */
    bool is_deletion;
    struct slice text; /* the resource, where it stands in the document; of a deletion: request.url, decoded,
                          empty if that is missing or no string */
    struct slice time; /* of a deletion; empty: none is given */
};

struct json_reader;

struct bundle {
    bool is_bundle; /* else the document is another resource, and there are no entries */
    struct json_reader *reader;
    struct arena arena;
    struct buffer entries;
};

void bundle_init(struct bundle *bundle);
void bundle_release(struct bundle *bundle);

/* Reads one document. What was found before is forgotten; entries borrow from the document and the bundle.
 * Fails as json_read does, and with STATUS_TOO_LARGE. */
NODISCARD enum status bundle_read(struct bundle *bundle, struct slice document, struct error *error);

size_t bundle_count(const struct bundle *bundle);
const struct bundle_entry *bundle_entry_at(const struct bundle *bundle, size_t index);

#endif

/*
 * The handlers: one file a family of routes. The table that calls them is server/router.c; what they may rely
 * on when they are called stands in router.h.
 *
 * Threading: a handler runs on the exchange's reactor and must not block.
 */
#ifndef SERVER_HANDLERS_HANDLERS_H
#define SERVER_HANDLERS_HANDLERS_H

#include "server/router.h"

/* auth.c */
void handle_token(struct exchange *exchange, const struct route_call *call);
void handle_welcome(struct exchange *exchange, const struct route_call *call);
void handle_auth_provider(struct exchange *exchange, const struct route_call *call);

/* metadata.c */
void handle_metadata(struct exchange *exchange, const struct route_call *call);
void handle_version(struct exchange *exchange, const struct route_call *call);

/* health.c */
void handle_health(struct exchange *exchange, const struct route_call *call);

/* export.c; the group's id is parameter 0 */
void handle_export_patient(struct exchange *exchange, const struct route_call *call);
void handle_export_group(struct exchange *exchange, const struct route_call *call);

/* jobs.c; the job's id is parameter 0 */
void handle_job_list(struct exchange *exchange, const struct route_call *call);
void handle_job_status(struct exchange *exchange, const struct route_call *call);
void handle_job_delete(struct exchange *exchange, const struct route_call *call);

/* attribution.c */
void handle_attribution_status(struct exchange *exchange, const struct route_call *call);

/* data.c; job id and file name are parameters 0 and 1 */
void handle_data_file(struct exchange *exchange, const struct route_call *call);

/* swagger.c; the file's name is parameter 0 of the last */
void handle_page_moved(struct exchange *exchange, const struct route_call *call);
void handle_page(struct exchange *exchange, const struct route_call *call);
void handle_openapi(struct exchange *exchange, const struct route_call *call);
void handle_page_asset(struct exchange *exchange, const struct route_call *call);

#endif

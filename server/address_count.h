/*
 * How many connections each client address has, over all reactors: for the limit per address.
 *
 * An IPv6 address counts by its first 64 bits, since a client chooses the rest as he likes; an IPv4 address
 * mapped into IPv6 counts as itself. Bounded by the limit on connections in all: an address is forgotten with
 * its last connection.
 *
 * Threading: any thread.
 */
#ifndef SERVER_ADDRESS_COUNT_H
#define SERVER_ADDRESS_COUNT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct address_count;

struct address_count *address_count_new(unsigned count_max); /* 0: no limit, nothing is counted */
void address_count_free(struct address_count *counts);
/* False, and not counted, if the address has count_max already. */
bool address_count_add(struct address_count *counts, const struct sockaddr *address);
void address_count_remove(struct address_count *counts, const struct sockaddr *address);

/* The address as text, without port; a mapped IPv4 address as IPv4. */
void address_format(const struct sockaddr *address, char target[INET6_ADDRSTRLEN]);

#endif

/*
 * Assertions for our own bugs. They stay on in release builds: a server that goes on after its own
 * invariant broke is worse than one that stops with a message. Input never trips one.
 */
#ifndef CODEC_BASE_CHECK_H
#define CODEC_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0))                                                               \
            check_failed(__FILE__, __LINE__, #condition);                                                    \
    } while (0)

#endif

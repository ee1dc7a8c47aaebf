#include "codec/base/failpoint.h"

#include "codec/base/check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAILPOINT_MAX 32

enum failpoint_action { FAILPOINT_KILL, FAILPOINT_ERROR, FAILPOINT_NOSPACE, FAILPOINT_SLEEP };

struct failpoint {
    char name[64];
    enum failpoint_action action;
    unsigned only_at; /* 0: at each passage */
    unsigned passages;
};

int failpoint_state;
static struct failpoint failpoints[FAILPOINT_MAX];
static size_t failpoint_count;
static pthread_mutex_t failpoint_lock = PTHREAD_MUTEX_INITIALIZER;

static void failpoint_parse(char *text)
{
    static const char *const actions[] = {"kill", "error", "nospace", "sleep"};
    for (char *save, *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        struct failpoint point = {.passages = 0};
        char action[16] = "";
        int fields = sscanf(word, "%63[^=]=%15[^@]@%u", point.name, action, &point.only_at);
        size_t index = 0;
        while (index < sizeof actions / sizeof *actions && strcmp(action, actions[index]) != 0)
            index++;
        if (fields < 2 || index == sizeof actions / sizeof *actions || failpoint_count == FAILPOINT_MAX) {
            fprintf(stderr, "SLUICE_FAILPOINTS: cannot understand \"%s\"\n", word);
            abort();
        }
        point.action = (enum failpoint_action)index;
        failpoints[failpoint_count++] = point;
    }
}

static void failpoint_load(void)
{
    const char *setting = getenv("SLUICE_FAILPOINTS");
    if (setting && *setting) {
        char *copy = strdup(setting);
        CHECK(copy);
        failpoint_parse(copy);
        free(copy);
    }
    __atomic_store_n(&failpoint_state, failpoint_count ? 2 : 1, __ATOMIC_RELEASE);
}

static bool failpoint_act(enum failpoint_action action)
{
    switch (action) {
    case FAILPOINT_KILL:
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    case FAILPOINT_ERROR:
        errno = EIO;
        return true;
    case FAILPOINT_NOSPACE:
        errno = ENOSPC;
        return true;
    case FAILPOINT_SLEEP:
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
        return false;
    }
    return false;
}

bool failpoint_reach(const char *name)
{
    pthread_mutex_lock(&failpoint_lock);
    if (__atomic_load_n(&failpoint_state, __ATOMIC_RELAXED) == 0)
        failpoint_load();
    bool act = false;
    enum failpoint_action action = FAILPOINT_ERROR;
    for (size_t i = 0; i < failpoint_count && !act; i++) {
        struct failpoint *point = &failpoints[i];
        if (strcmp(point->name, name) != 0)
            continue;
        point->passages++;
        act = point->only_at == 0 || point->only_at == point->passages;
        action = point->action;
    }
    pthread_mutex_unlock(&failpoint_lock);
    return act && failpoint_act(action);
}

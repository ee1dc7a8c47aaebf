#include "loadtest/usage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool file_read(const char *format, pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, format, (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t got = fread(text, 1, size - 1, file);
    fclose(file);
    text[got] = '\0';
    return got > 0;
}

static uint64_t kilobytes_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    unsigned long long value = 0;
    if (at)
        sscanf(at + strlen(name), "%llu", &value);
    return (uint64_t)value * 1024;
}

bool usage_read(pid_t pid, struct usage *ret_usage)
{
    char text[4096];
    unsigned long long user, system;
    if (!file_read("/proc/%d/stat", pid, text, sizeof text))
        return false;
    /* The name in parentheses may hold anything: fields are counted from behind it. */
    const char *behind = strrchr(text, ')');
    if (!behind ||
        sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return false;
    if (!file_read("/proc/%d/status", pid, text, sizeof text))
        return false;
    *ret_usage = (struct usage){
        .cpu_seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK),
        .anonymous_bytes = kilobytes_of(text, "RssAnon:"),
        .resident_bytes = kilobytes_of(text, "VmRSS:"),
    };
    return true;
}

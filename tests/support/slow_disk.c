/* A disk with faults, put before the C library by LD_PRELOAD: what is written to and flushed for
 * files named journal.* obeys the words in the file $CRRD_FAULT.
 *   stall MS   flushing takes so much longer
 *   errno N    writing and flushing fail with this error number
 * Anything else, or no file: an ordinary disk. Linux only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_journal(int fd) {
    char link[64], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strstr(name, "/journal.") != NULL;
}

/* The error number to fail with, or 0; sleeps when a flush is to stall. */
static int fault(int fd, int flush) {
    const char *path = getenv("CRRD_FAULT");
    FILE *file = path && is_journal(fd) ? fopen(path, "r") : NULL;
    char word[16] = "";
    int number = 0;
    if (!file) return 0;
    if (fscanf(file, "%15s %d", word, &number) != 2) number = 0;
    fclose(file);
    if (flush && !strcmp(word, "stall")) usleep(number * 1000u);
    return strcmp(word, "errno") ? 0 : number;
}

#define FLUSH(name)                                                     \
    int name(int fd) {                                                  \
        static int (*real)(int);                                        \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);        \
        int error = fault(fd, 1);                                       \
        if (error) { errno = error; return -1; }                        \
        return real(fd);                                                \
    }
FLUSH(fsync)
FLUSH(fdatasync)

#define WRITE(name, offset)                                                              \
    ssize_t name(int fd, const void *bytes, size_t count, offset at) {                   \
        static ssize_t (*real)(int, const void *, size_t, offset);                       \
        if (!real) real = (ssize_t (*)(int, const void *, size_t, offset))dlsym(RTLD_NEXT, #name); \
        int error = fault(fd, 0);                                                        \
        if (error) { errno = error; return -1; }                                         \
        return real(fd, bytes, count, at);                                               \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

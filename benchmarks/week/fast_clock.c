/* A clock that runs faster, for every program that is started with this library in LD_PRELOAD.
 *
 * From FAST_CLOCK_FROM (seconds since 1970) on, FAST_CLOCK_RATE seconds of wall-clock time pass in one. Nothing else is
 * faster: monotonic clocks, by which programs wait, are unchanged, and a wait until a wall-clock time takes as long as
 * the waiting program intended. Times of files that are written meanwhile are those of the faster clock too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NANOS 1000000000LL
#define EPOCHS 1000000000LL /* seconds: a machine is not up for thirty years, so such a time is wall-clock time */

typedef struct timespec moment;

static long long from, rate = 1;

__attribute__((constructor)) static void begin(void) {
    const char *from_text = getenv("FAST_CLOCK_FROM"), *rate_text = getenv("FAST_CLOCK_RATE");
    if (from_text && rate_text) {
        from = atoll(from_text) * NANOS;
        rate = atoll(rate_text);
    }
}

static long long nanos(const moment *at) { return at->tv_sec * NANOS + at->tv_nsec; }

static void set(moment *at, long long ns) {
    at->tv_sec = ns / NANOS;
    at->tv_nsec = ns % NANOS;
}

static long long faster(long long ns) { return ns > from ? from + (ns - from) * rate : ns; }

static int true_time(clockid_t which, moment *at) { return (int)syscall(SYS_clock_gettime, which, at); }

static long long true_now(void) {
    moment now;
    true_time(CLOCK_REALTIME, &now);
    return nanos(&now);
}

int clock_gettime(clockid_t which, moment *at) {
    int (*real)(clockid_t, moment *) = NULL;
    if (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE) {
        static int (*next)(clockid_t, moment *);
        real = next ? next : (next = dlsym(RTLD_NEXT, "clock_gettime"));
        return real(which, at);
    }
    int failed = true_time(which, at);
    if (!failed) set(at, faster(nanos(at)));
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    long long now = faster(true_now());
    at->tv_sec = now / NANOS;
    at->tv_usec = now % NANOS / 1000;
    return 0;
}

time_t time(time_t *at) {
    time_t now = faster(true_now()) / NANOS;
    if (at) *at = now;
    return now;
}

int timespec_get(moment *at, int base) {
    set(at, faster(true_now()));
    return base;
}

/* Convert a deadline of the faster clock to the true one; deadlines of a monotonic clock are small, and unchanged. */
static moment deadline(const moment *until) {
    moment at = *until;
    if (until->tv_sec > EPOCHS) {
        long long now = true_now();
        set(&at, now + nanos(until) - faster(now));
    }
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const moment *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const moment *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    moment at = deadline(until);
    return real(condition, mutex, &at);
}

/* The C11 function, which does not call the one above. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const moment *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const moment *);
    if (!real) real = dlsym(RTLD_NEXT, "cnd_timedwait");
    moment at = deadline(until);
    return real(condition, mutex, &at);
}

int sem_timedwait(sem_t *restrict semaphore, const moment *restrict until) {
    static int (*real)(sem_t *, const moment *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    moment at = deadline(until);
    return real(semaphore, &at);
}

static int adjusted(int failed, struct stat *status) {
    if (!failed) {
        set(&status->st_mtim, faster(nanos(&status->st_mtim)));
        set(&status->st_ctim, faster(nanos(&status->st_ctim)));
    }
    return failed;
}

#define WRAP(name, parameters, arguments)                             \
    int name parameters {                                             \
        static int(*real) parameters;                                 \
        if (!real) real = dlsym(RTLD_NEXT, #name);                    \
        return adjusted(real arguments, status);                      \
    }

WRAP(stat, (const char *restrict path, struct stat *restrict status), (path, status))
WRAP(lstat, (const char *restrict path, struct stat *restrict status), (path, status))
WRAP(fstat, (int file, struct stat *status), (file, status))
WRAP(fstatat, (int folder, const char *restrict path, struct stat *restrict status, int how),
     (folder, path, status, how))

/* On 64 bits these are the same, under the names that programs with large files use. */
int stat64(const char *restrict path, struct stat64 *restrict status) { return stat(path, (struct stat *)status); }
int lstat64(const char *restrict path, struct stat64 *restrict status) { return lstat(path, (struct stat *)status); }
int fstat64(int file, struct stat64 *status) { return fstat(file, (struct stat *)status); }
int fstatat64(int folder, const char *restrict path, struct stat64 *restrict status, int how) {
    return fstatat(folder, path, (struct stat *)status, how);
}

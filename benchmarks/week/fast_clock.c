/* A clock that runs faster, for every program that is started with this library in LD_PRELOAD.
 *
 * From FAST_CLOCK_FROM (seconds since 1970) on, FAST_CLOCK_RATE seconds of the calendar pass in one. Nothing else is
 * faster: monotonic clocks, by which programs wait, stay as they are, and a wait until a time of the calendar lasts as
 * long as whoever waits meant it to. Times of files that are written meanwhile are told by the faster clock too.
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
#define EPOCHS 1000000000LL /* seconds: a machine is not up for thirty years, so such a time is of the calendar */

typedef struct timespec moment;

static long long from, rate = 1;

__attribute__((constructor)) static void begin(void) {
    const char *said_from = getenv("FAST_CLOCK_FROM"), *said_rate = getenv("FAST_CLOCK_RATE");
    if (said_from && said_rate) {
        from = atoll(said_from) * NANOS;
        rate = atoll(said_rate);
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
        static int (*kept)(clockid_t, moment *);
        real = kept ? kept : (kept = dlsym(RTLD_NEXT, "clock_gettime"));
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

/* A deadline of the faster clock, as the true one has it; one of a monotonic clock, which is small, as it is. */
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

/* That of C11, which does not pass through the one above. */
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

static int told(int failed, struct stat *found) {
    if (!failed) {
        set(&found->st_mtim, faster(nanos(&found->st_mtim)));
        set(&found->st_ctim, faster(nanos(&found->st_ctim)));
    }
    return failed;
}

#define TELLS(name, parameters, arguments)                            \
    int name parameters {                                             \
        static int(*real) parameters;                                 \
        if (!real) real = dlsym(RTLD_NEXT, #name);                    \
        return told(real arguments, found);                           \
    }

TELLS(stat, (const char *restrict path, struct stat *restrict found), (path, found))
TELLS(lstat, (const char *restrict path, struct stat *restrict found), (path, found))
TELLS(fstat, (int file, struct stat *found), (file, found))
TELLS(fstatat, (int folder, const char *restrict path, struct stat *restrict found, int how), (folder, path, found, how))

/* On 64 bits these are the same, under the names that programs with large files use. */
int stat64(const char *restrict path, struct stat64 *restrict found) { return stat(path, (struct stat *)found); }
int lstat64(const char *restrict path, struct stat64 *restrict found) { return lstat(path, (struct stat *)found); }
int fstat64(int file, struct stat64 *found) { return fstat(file, (struct stat *)found); }
int fstatat64(int folder, const char *restrict path, struct stat64 *restrict found, int how) {
    return fstatat(folder, path, (struct stat *)found, how);
}

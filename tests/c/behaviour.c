/*
 * behaviour BACKEND DIRECTORY: what the C interface promises, checked from C. Exit status 0 and
 * the number of checks if all hold; the first that does not ends the program with its line.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kcopyd.h"

#define SECTOR 512u
#define PATTERN_SECTORS 256u

static unsigned checks;
static unsigned backend;
static const char *directory;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		checks++;                                                                          \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s does not hold; errno %d, last error: %s\n",     \
				__FILE__, __LINE__, #condition, errno, kcopyd_last_error());       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* ---- Files ---- */

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 7 + at / SECTOR + 1);
}

/* A file of so many sectors of the pattern, or of a hole. */
static void make_file(const char *name, unsigned sectors, int filled)
{
	FILE *file = fopen(path_of(name), "wb");
	size_t at;

	CHECK(file != NULL);
	for (at = 0; filled && at < (size_t)sectors * SECTOR; at++)
		fputc(pattern(at), file);
	CHECK(fclose(file) == 0);
	CHECK(truncate(path_of(name), (off_t)sectors * SECTOR) == 0);
}

/* How many of the first `sectors` sectors hold the pattern. */
static unsigned good_sectors(const char *name, unsigned sectors)
{
	FILE *file = fopen(path_of(name), "rb");
	unsigned char sector[SECTOR];
	unsigned good = 0, i, j;

	CHECK(file != NULL);
	for (i = 0; i < sectors && fread(sector, SECTOR, 1, file) == 1; i++) {
		for (j = 0; j < SECTOR && sector[j] == pattern((size_t)i * SECTOR + j); j++)
			;
		good += j == SECTOR;
	}
	fclose(file);
	return good;
}

static struct block_device *open_device(const char *name, unsigned flags)
{
	struct block_device *bdev;

	CHECK(kcopyd_device_open(path_of(name), flags, &bdev) == 0);
	return bdev;
}

static struct io_region region(struct block_device *bdev, sector_t sector, sector_t count)
{
	struct io_region made;

	made.bdev = bdev;
	made.sector = sector;
	made.count = count;
	return made;
}

static struct kcopyd_client *make_client(unsigned queue)
{
	struct kcopyd_options options;
	struct kcopyd_client *kc;

	memset(&options, 0, sizeof(options));
	options.num_pages = 64;
	options.backend = backend;
	options.queue = queue;
	CHECK(kcopyd_client_create_with(&options, &kc) == 0);
	return kc;
}

/* ---- Callbacks ---- */

struct answer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned calls;
	int running, overlapped;
	int read_err;
	unsigned write_err;
	struct kcopyd_verdict verdict;
	struct kcopyd_dest_verdict dests[64];
	struct answer *next;
};

/* All answers: freed at the end, so that what a leak checker finds is the library's. */
static struct answer *answers;

static struct answer *new_answer(void)
{
	struct answer *answer = calloc(1, sizeof(*answer));

	CHECK(answer != NULL);
	answer->next = answers;
	answers = answer;
	pthread_mutex_init(&answer->lock, NULL);
	pthread_cond_init(&answer->changed, NULL);
	return answer;
}

static void count_call(struct answer *answer)
{
	answer->calls++;
	pthread_cond_broadcast(&answer->changed);
	pthread_mutex_unlock(&answer->lock);
}

static void on_notify(int read_err, unsigned write_err, void *context)
{
	struct answer *answer = context;

	/* Not under the lock: a second callback at the same time would be seen here. */
	answer->overlapped |= answer->running;
	answer->running = 1;
	pthread_mutex_lock(&answer->lock);
	answer->read_err = read_err;
	answer->write_err = write_err;
	answer->running = 0;
	count_call(answer);
}

static void on_verdict(const struct kcopyd_verdict *verdict, void *context)
{
	struct answer *answer = context;

	pthread_mutex_lock(&answer->lock);
	answer->verdict = *verdict;
	memcpy(answer->dests, verdict->dests, verdict->num_dests * sizeof(*verdict->dests));
	answer->verdict.dests = answer->dests;
	count_call(answer);
}

static void wait_for(struct answer *answer, unsigned calls)
{
	pthread_mutex_lock(&answer->lock);
	while (answer->calls < calls)
		pthread_cond_wait(&answer->changed, &answer->lock);
	pthread_mutex_unlock(&answer->lock);
}

static struct kcopyd_verdict run(struct kcopyd_client *kc, const struct kcopyd_job *job)
{
	/* Kept for the whole program: the verdict points into it. */
	struct answer *answer = new_answer();

	CHECK(kcopyd_submit(kc, job, on_verdict, answer) == 0);
	wait_for(answer, 1);
	return answer->verdict;
}

static struct kcopyd_job job_of(unsigned kind, const struct io_region *from, unsigned num_dests,
				const struct io_region *dests)
{
	struct kcopyd_job job;

	memset(&job, 0, sizeof(job));
	job.kind = kind;
	job.from = from;
	job.num_dests = num_dests;
	job.dests = dests;
	return job;
}

/* ---- The tests ---- */

static void bad_devices_are_refused(void)
{
	struct block_device *bdev;

	CHECK(kcopyd_device_open(path_of("nothing"), 0, &bdev) == -ENOENT);
	CHECK(strstr(kcopyd_last_error(), "nothing") != NULL);
	CHECK(kcopyd_device_open(directory, 0, &bdev) == -EISDIR);
	CHECK(kcopyd_device_open("/dev/null", 0, &bdev) == -ENOTBLK);
	CHECK(kcopyd_device_open(NULL, 0, &bdev) == -EINVAL);
	CHECK(kcopyd_device_open(path_of("source"), 0, NULL) == -EINVAL);
	CHECK(kcopyd_device_open(path_of("source"), 1u << 31, &bdev) == -EINVAL);
	CHECK(kcopyd_device_open(path_of("source"), KCOPYD_OPEN_DIRECT | KCOPYD_OPEN_CACHED,
				 &bdev) == -EINVAL);
	CHECK(kcopyd_device_size(NULL) == 0);
	kcopyd_device_close(NULL);
}

static void bad_clients_are_refused(void)
{
	struct kcopyd_options options;
	struct kcopyd_client *kc;

	CHECK(kcopyd_client_create(15, &kc) == -EINVAL);
	CHECK(kcopyd_client_create(0, &kc) == -EINVAL);
	CHECK(kcopyd_client_create(16, NULL) == -EINVAL);
	CHECK(kcopyd_client_create_with(NULL, &kc) == -EINVAL);
	memset(&options, 0, sizeof(options));
	options.backend = 9;
	CHECK(kcopyd_client_create_with(&options, &kc) == -EINVAL);
	memset(&options, 0, sizeof(options));
	options.reserved[2] = 1;
	CHECK(kcopyd_client_create_with(&options, &kc) == -EINVAL);
	memset(&options, 0, sizeof(options));
	options.request_bytes = 1000;
	CHECK(kcopyd_client_create_with(&options, &kc) == -EINVAL);
	kcopyd_client_destroy(NULL);
	CHECK(kcopyd_client_destroy_timeout(NULL, 1) == -EINVAL);
	CHECK(kcopyd_client_set_rate(NULL, 1) == -EINVAL);
	CHECK(kcopyd_client_stats(NULL, NULL) == -EINVAL);
}

static void bad_jobs_are_refused(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *copy = open_device("copy", KCOPYD_OPEN_WRITE);
	struct io_region from = region(source, 0, 8), to[65], bad;
	struct answer *answer = new_answer();
	struct kcopyd_job job;
	unsigned i;

	for (i = 0; i < 65; i++)
		to[i] = region(copy, 8 * i, 8);
	CHECK(kcopyd_copy(NULL, &from, 1, to, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, NULL, 1, to, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 1, NULL, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 1, to, 0, NULL, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 0, to, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 65, to, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, UINT_MAX, to, 0, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 33, to, 0, on_notify, answer) == -EINVAL);
	CHECK(strstr(kcopyd_last_error(), "kcopyd_submit") != NULL);
	CHECK(kcopyd_copy(kc, &from, 1, to, 1u << 31, on_notify, answer) == -EINVAL);
	CHECK(kcopyd_copy(kc, &from, 1, to, KCOPYD_IGNORE_ERROR | KCOPYD_DETACH, on_notify,
			  answer) == -EINVAL);
	bad = region(NULL, 0, 8);
	CHECK(kcopyd_copy(kc, &bad, 1, to, 0, on_notify, answer) == -EINVAL);
	bad = region(copy, 0, 9);
	CHECK(kcopyd_copy(kc, &from, 1, &bad, 0, on_notify, answer) == -EINVAL);
	bad = region(source, 0, 100000);
	to[64] = region(copy, 0, 100000);
	CHECK(kcopyd_copy(kc, &bad, 1, &to[64], 0, on_notify, answer) == -ERANGE);
	bad = region(source, ~(sector_t)0, 8);
	CHECK(kcopyd_copy(kc, &bad, 1, to, 0, on_notify, answer) == -ERANGE);
	bad = region(source, 100, 8);
	CHECK(kcopyd_copy(kc, &from, 1, &bad, 0, on_notify, answer) == -EACCES);
	bad = region(copy, 4, 8);
	to[63] = region(copy, 8, 8);
	CHECK(kcopyd_copy(kc, &bad, 1, &to[63], KCOPYD_REFUSE_OVERLAP, on_notify, answer) ==
	      -EINVAL);
	job = job_of(9, &from, 1, to);
	CHECK(kcopyd_submit(kc, &job, on_verdict, answer) == -EINVAL);
	job = job_of(KCOPYD_JOB_COPY, &from, 1, to);
	job.reserved = 1;
	CHECK(kcopyd_submit(kc, &job, on_verdict, answer) == -EINVAL);
	CHECK(kcopyd_submit(kc, NULL, on_verdict, answer) == -EINVAL);
	kcopyd_client_destroy(kc);
	CHECK(answer->calls == 0);
	kcopyd_device_close(source);
	kcopyd_device_close(copy);
}

static void copies_arrive(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *three[3];
	struct io_region from = region(source, 0, PATTERN_SECTORS), to[3];
	static const char *names[3] = { "a", "b", "c" };
	struct answer *answer = new_answer();
	struct kcopyd_stats stats;
	unsigned i;

	for (i = 0; i < 3; i++) {
		three[i] = open_device(names[i], KCOPYD_OPEN_WRITE | KCOPYD_OPEN_CREATE);
		to[i] = region(three[i], 0, PATTERN_SECTORS);
	}
	CHECK(kcopyd_copy(kc, &from, 3, to, KCOPYD_FLUSH, on_notify, answer) == 0);
	/* The caller's handles and structures are needed for the call only. */
	memset(to, 0, sizeof(to));
	for (i = 0; i < 3; i++)
		kcopyd_device_close(three[i]);
	wait_for(answer, 1);
	CHECK(answer->read_err == 0 && answer->write_err == 0);
	for (i = 0; i < 3; i++)
		CHECK(good_sectors(names[i], PATTERN_SECTORS) == PATTERN_SECTORS);
	CHECK(kcopyd_client_stats(kc, &stats) == 0);
	CHECK(stats.bytes_read == PATTERN_SECTORS * SECTOR);
	CHECK(stats.bytes_written == 3 * PATTERN_SECTORS * SECTOR);
	CHECK(stats.pool_pages == 64 && stats.pool_peak_pages <= 64);
	CHECK(stats.jobs_submitted == 1 && stats.jobs_failed == 0);
	CHECK(strcmp(kcopyd_client_backend(kc), "threads") == 0 || backend != KCOPYD_BACKEND_THREADS);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(source);
}

static void bytes_are_possible_and_wide_jobs_too(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *wide = open_device("wide", KCOPYD_OPEN_WRITE | KCOPYD_OPEN_CREATE);
	struct io_region from = region(source, 0, 1001), to[64];
	struct kcopyd_verdict verdict;
	struct kcopyd_job job;
	unsigned i;

	for (i = 0; i < 64; i++)
		to[i] = region(wide, 1001 * i, 1001);
	job = job_of(KCOPYD_JOB_COPY, &from, 64, to);
	job.flags = KCOPYD_BYTES;
	verdict = run(kc, &job);
	CHECK(verdict.num_dests == 64 && verdict.write_err == 0 && verdict.read_error == 0);
	for (i = 0; i < 64; i++)
		CHECK(verdict.dests[i].written_from == 0 && verdict.dests[i].written == 1001);
	CHECK(kcopyd_device_size(wide) == 64 * 1001);
	/* Compare: equal with the first; the second is compared with other bytes. */
	to[1] = region(wide, 1000, 1001);
	job = job_of(KCOPYD_JOB_COMPARE, &from, 2, to);
	job.flags = KCOPYD_BYTES;
	verdict = run(kc, &job);
	CHECK(verdict.dests[0].differing == 0 && verdict.dests[1].differing > 0);
	job = job_of(KCOPYD_JOB_FLUSH, NULL, 1, to);
	verdict = run(kc, &job);
	CHECK(verdict.write_err == 0);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(source);
	kcopyd_device_close(wide);
}

static void zeroed_regions_read_as_zeros(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *copy = open_device("a", KCOPYD_OPEN_WRITE);
	struct io_region middle = region(copy, 16, 32);
	struct answer *answer = new_answer();

	CHECK(kcopyd_zero(kc, 1, &middle, 0, on_notify, answer) == 0);
	wait_for(answer, 1);
	CHECK(answer->read_err == 0 && answer->write_err == 0);
	CHECK(good_sectors("a", PATTERN_SECTORS) == PATTERN_SECTORS - 32);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(copy);
}

/* A destination behind the limit on the size of files fails; the others do not. */
static void a_destination_that_fails_has_its_bit(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *limited = open_device("limited", KCOPYD_OPEN_WRITE | KCOPYD_OPEN_CREATE);
	struct io_region from = region(source, 0, 64), to[3];
	struct answer *answer = new_answer();
	struct kcopyd_verdict verdict;
	struct kcopyd_job job;
	struct rlimit before, limit;

	CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
	limit = before;
	limit.rlim_cur = 1 << 20;
	signal(SIGXFSZ, SIG_IGN);
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	to[0] = region(limited, 0, 64);
	to[1] = region(limited, 4096, 64);
	to[2] = region(limited, 64, 64);
	CHECK(kcopyd_copy(kc, &from, 3, to, 0, on_notify, answer) == 0);
	wait_for(answer, 1);
	CHECK(answer->read_err == 0 && answer->write_err == 1u << 1);
	job = job_of(KCOPYD_JOB_COPY, &from, 3, to);
	job.flags = KCOPYD_DETACH;
	verdict = run(kc, &job);
	CHECK(verdict.write_err == 1u << 1 && verdict.read_error == 0 && !verdict.cancelled);
	CHECK(verdict.dests[1].error == EFBIG && verdict.dests[1].fault == KCOPYD_FAULT_DEVICE);
	CHECK(verdict.dests[1].bad_sector == 4096 && verdict.dests[1].written == 0);
	CHECK(verdict.dests[0].error == 0 && verdict.dests[0].written == 64);
	CHECK(verdict.dests[2].error == 0 && verdict.dests[2].written == 64);
	CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(source);
	kcopyd_device_close(limited);
}

/* A source that shrank since it was opened cannot be read to its end. */
static void a_source_that_fails_is_a_read_error(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source, *copy = open_device("c", KCOPYD_OPEN_WRITE);
	struct io_region from, to = region(copy, 0, 128);
	struct answer *answer = new_answer();
	struct kcopyd_verdict verdict;
	struct kcopyd_job job;

	make_file("shrinking", 128, 1);
	source = open_device("shrinking", KCOPYD_OPEN_READ);
	from = region(source, 0, 128);
	CHECK(truncate(path_of("shrinking"), 40 * SECTOR) == 0);
	CHECK(kcopyd_copy(kc, &from, 1, &to, 0, on_notify, answer) == 0);
	wait_for(answer, 1);
	CHECK(answer->read_err == 1 && answer->write_err == 0);
	job = job_of(KCOPYD_JOB_COPY, &from, 1, &to);
	verdict = run(kc, &job);
	CHECK(verdict.read_error == EIO && verdict.read_fault == KCOPYD_FAULT_END);
	CHECK(verdict.read_bad_sector == 40);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(source);
	kcopyd_device_close(copy);
}

static void destroy_waits_for_every_callback(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *copy = open_device("copy", KCOPYD_OPEN_WRITE);
	struct answer *answer = new_answer();
	unsigned i;

	for (i = 0; i < 2000; i++) {
		struct io_region from = region(source, i % 16 * 8, 8), to = region(copy, i % 16 * 8, 8);

		CHECK(kcopyd_copy(kc, &from, 1, &to, 0, on_notify, answer) == 0);
	}
	if (backend == KCOPYD_BACKEND_THREADS)
		kcopyd_client_destroy(kc);
	else
		CHECK(kcopyd_client_destroy_timeout(kc, 60000) == 0);
	CHECK(answer->calls == 2000);
	CHECK(!answer->overlapped);
	kcopyd_device_close(source);
	kcopyd_device_close(copy);
}

struct inner {
	struct kcopyd_client *kc;
	struct io_region from, to;
	struct answer *answer;
	int accepted, busy, destroyed;
};

static void submitting(int read_err, unsigned write_err, void *context)
{
	struct inner *inner = context;
	int i;

	(void)read_err;
	(void)write_err;
	for (i = 0; i < 10; i++) {
		int answer = kcopyd_copy(inner->kc, &inner->from, 1, &inner->to, 0, on_notify,
					 inner->answer);

		inner->accepted += answer == 0;
		inner->busy += answer == -EBUSY;
	}
	inner->destroyed = kcopyd_client_destroy_timeout(inner->kc, 3600000);
	on_notify(0, 0, inner->answer);
}

static void a_callback_may_submit_and_never_waits(void)
{
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *copy = open_device("copy", KCOPYD_OPEN_WRITE);
	struct inner inner;

	memset(&inner, 0, sizeof(inner));
	inner.kc = make_client(1);
	inner.from = region(source, 0, 8);
	inner.to = region(copy, 0, 8);
	inner.answer = new_answer();
	CHECK(kcopyd_copy(inner.kc, &inner.from, 1, &inner.to, 0, submitting, &inner) == 0);
	wait_for(inner.answer, 2);
	CHECK(inner.accepted >= 1 && inner.busy >= 1 && inner.accepted + inner.busy == 10);
	CHECK(inner.destroyed == -ETIMEDOUT);
	CHECK(kcopyd_copy(inner.kc, &inner.from, 1, &inner.to, 0, on_notify, inner.answer) ==
	      -ESHUTDOWN);
	CHECK(kcopyd_client_destroy_timeout(inner.kc, 60000) == 0);
	CHECK(inner.answer->calls == 1 + (unsigned)inner.accepted);
	kcopyd_device_close(source);
	kcopyd_device_close(copy);
}

static void cancelled_jobs_never_look_done(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct block_device *source = open_device("source", KCOPYD_OPEN_READ);
	struct block_device *copy = open_device("cancelled", KCOPYD_OPEN_WRITE | KCOPYD_OPEN_CREATE);
	struct io_region from = region(source, 0, 64), to[2];
	struct kcopyd_cancel *cancel;
	struct kcopyd_verdict verdict;
	struct kcopyd_job job;

	to[0] = region(copy, 0, 64);
	to[1] = region(copy, 64, 64);
	CHECK(kcopyd_cancel_create(kc, &cancel) == 0);
	CHECK(kcopyd_cancel_create(kc, NULL) == -EINVAL);
	CHECK(kcopyd_cancel(NULL) == -EINVAL);
	CHECK(kcopyd_cancel(cancel) == 0);
	job = job_of(KCOPYD_JOB_COPY, &from, 2, to);
	job.cancel = cancel;
	verdict = run(kc, &job);
	CHECK(verdict.cancelled && verdict.write_err == 3);
	CHECK(verdict.dests[0].error == ECANCELED && verdict.dests[0].written == 0);
	CHECK(verdict.dests[1].fault == KCOPYD_FAULT_CANCELLED);
	CHECK(kcopyd_device_size(copy) == 0);
	kcopyd_cancel_destroy(cancel);
	kcopyd_cancel_destroy(NULL);
	kcopyd_client_destroy(kc);
	kcopyd_device_close(source);
	kcopyd_device_close(copy);
}

static void prepared_callbacks_come_with_their_values(void)
{
	struct kcopyd_client *kc = make_client(0);
	struct answer *answer = new_answer(), *never = new_answer(), *late = new_answer();
	struct kcopyd_prepared *prepared, *unused, *left;

	prepared = kcopyd_prepare_callback(kc, on_notify, answer);
	unused = kcopyd_prepare_callback(kc, on_notify, never);
	left = kcopyd_prepare_callback(kc, on_notify, late);
	CHECK(prepared != NULL && unused != NULL && left != NULL);
	CHECK(kcopyd_prepare_callback(kc, NULL, answer) == NULL);
	CHECK(kcopyd_prepare_callback(NULL, on_notify, answer) == NULL);
	CHECK(kcopyd_do_callback(prepared, 7, 0x80000001u) == 0);
	wait_for(answer, 1);
	CHECK(answer->read_err == 7 && answer->write_err == 0x80000001u);
	kcopyd_discard_callback(unused);
	CHECK(kcopyd_do_callback(NULL, 0, 0) == -EINVAL);
	kcopyd_client_destroy(kc);
	CHECK(never->calls == 0 && late->calls == 0);
	CHECK(kcopyd_do_callback(left, 0, 5) == 0);
	CHECK(late->calls == 1 && late->write_err == 5);
}

int main(int argc, char **argv)
{
	CHECK(argc == 3);
	backend = strcmp(argv[1], "threads") ? KCOPYD_BACKEND_AUTO : KCOPYD_BACKEND_THREADS;
	directory = argv[2];
	CHECK(strlen(kcopyd_version()) >= 5);
	make_file("source", PATTERN_SECTORS, 1);
	make_file("copy", PATTERN_SECTORS, 0);
	bad_devices_are_refused();
	bad_clients_are_refused();
	bad_jobs_are_refused();
	copies_arrive();
	bytes_are_possible_and_wide_jobs_too();
	zeroed_regions_read_as_zeros();
	a_destination_that_fails_has_its_bit();
	a_source_that_fails_is_a_read_error();
	destroy_waits_for_every_callback();
	a_callback_may_submit_and_never_waits();
	cancelled_jobs_never_look_done();
	prepared_callbacks_come_with_their_values();
	while (answers != NULL) {
		struct answer *next = answers->next;

		free(answers);
		answers = next;
	}
	printf("%u checks hold\n", checks);
	return 0;
}

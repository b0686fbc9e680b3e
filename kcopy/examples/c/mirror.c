/*
 * mirror SOURCE DESTINATION...: copies a file or block device to several others, read once, each
 * flushed, and says what became of each. Exit status 0 if all is well, 1 if not, 2 for bad usage.
 *
 *     cc -std=c99 -I kcopy/include kcopy/examples/c/mirror.c -L target/release -lkcopy -o mirror
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kcopyd.h"

#define MAX_DESTS 64

/* The main thread waits here until the callback says that the copy has ended. */
struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done;
	int ok;
	char **names;
};

/* Runs on the client's thread. The verdict is gone when this returns. */
static void copied(const struct kcopyd_verdict *verdict, void *context)
{
	struct waiting *waiting = context;
	unsigned i;

	if (verdict->read_error)
		printf("source: %s at sector %llu\n", strerror(verdict->read_error),
		       (unsigned long long)verdict->read_bad_sector);
	for (i = 0; i < verdict->num_dests; i++) {
		const struct kcopyd_dest_verdict *dest = &verdict->dests[i];
		unsigned long long written = dest->written;

		if (dest->error)
			printf("%s: %s at sector %llu, %llu bytes are written\n", waiting->names[i],
			       strerror(dest->error), (unsigned long long)dest->bad_sector, written);
		else
			printf("%s: %llu bytes are written\n", waiting->names[i], written);
	}
	pthread_mutex_lock(&waiting->lock);
	waiting->ok = !verdict->read_error && !verdict->write_err && !verdict->cancelled;
	waiting->done = 1;
	pthread_cond_signal(&waiting->changed);
	pthread_mutex_unlock(&waiting->lock);
}

static int failed(const char *what)
{
	fprintf(stderr, "mirror: %s: %s\n", what, kcopyd_last_error());
	return 0;
}

/* Copies all of `from` to `dests`, and waits for the verdict: 1 if all is well. */
static int mirror(const struct io_region *from, const struct io_region *dests, unsigned num_dests,
		  char **names)
{
	struct waiting waiting = {
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, names
	};
	struct kcopyd_client *kc;
	struct kcopyd_job job;

	if (kcopyd_client_create(1024, &kc) < 0)
		return failed("client");
	memset(&job, 0, sizeof(job));
	job.kind = KCOPYD_JOB_COPY;
	/* A file may end inside a sector: count bytes. A destination that fails is given up. */
	job.flags = KCOPYD_BYTES | KCOPYD_FLUSH | KCOPYD_DETACH;
	job.from = from;
	job.dests = dests;
	job.num_dests = num_dests;
	if (kcopyd_submit(kc, &job, copied, &waiting) < 0) {
		failed("copy");
	} else {
		pthread_mutex_lock(&waiting.lock);
		while (!waiting.done)
			pthread_cond_wait(&waiting.changed, &waiting.lock);
		pthread_mutex_unlock(&waiting.lock);
	}
	kcopyd_client_destroy(kc);
	return waiting.ok;
}

int main(int argc, char **argv)
{
	struct io_region from, dests[MAX_DESTS];
	unsigned num_dests = 0, i;
	int ok;

	if (argc < 3 || argc - 2 > MAX_DESTS) {
		fprintf(stderr, "usage: mirror SOURCE DESTINATION... (at most %d)\n", MAX_DESTS);
		return 2;
	}
	if (kcopyd_device_open(argv[1], KCOPYD_OPEN_READ, &from.bdev) < 0) {
		failed("source");
		return 1;
	}
	from.sector = 0;
	from.count = kcopyd_device_size(from.bdev);
	ok = 1;
	for (i = 2; ok && i < (unsigned)argc; i++) {
		dests[num_dests] = from;
		if (kcopyd_device_open(argv[i], KCOPYD_OPEN_WRITE | KCOPYD_OPEN_CREATE,
				       &dests[num_dests].bdev) < 0)
			ok = failed("destination");
		else
			num_dests++;
	}
	if (ok)
		ok = mirror(&from, dests, num_dests, argv + 2);
	for (i = 0; i < num_dests; i++)
		kcopyd_device_close(dests[i].bdev);
	kcopyd_device_close(from.bdev);
	return ok ? 0 : 1;
}

/*
 * kcopyd.h: an asynchronous block copy service in user space.
 *
 * One read, up to 64 writes, within a fixed amount of memory, and a verdict per destination. The
 * calls and their names are those of the kernel's kcopyd. docs/c-api.md tells how to link, and
 * what differs from the kernel.
 *
 * C99, and C++ from C++11 on.
 *
 *   - Positions and lengths count sectors of 512 bytes, whatever the device's block is.
 *   - A function that returns int returns 0, or a negative errno; kcopyd_last_error() then has a
 *     sentence about it. When a call fails nothing was changed and its callback is not called.
 *   - Callbacks of one client run on the client's own thread, one at a time, never inside the call
 *     that submitted. A callback may submit, but not block; it must not throw or jump out.
 *   - Every function may be called from any thread, but not from a signal handler.
 */
#ifndef KCOPYD_H
#define KCOPYD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A position or a length, in sectors of 512 bytes. */
typedef uint64_t sector_t;

struct kcopyd_client;
struct block_device;
struct kcopyd_cancel;
struct kcopyd_prepared;

/* `count` sectors of `bdev`, from `sector` on. */
struct io_region {
	struct block_device *bdev;
	sector_t sector;
	sector_t count;
};

/* ---- The library ---- */

/* Its version, for example "0.1.0". */
const char *kcopyd_version(void);

/* What went wrong in this thread's last call that failed. Valid until the next one that fails. */
const char *kcopyd_last_error(void);

/* ---- Devices ---- */

#define KCOPYD_OPEN_READ 0x00u   /* for reading */
#define KCOPYD_OPEN_WRITE 0x01u  /* for reading and writing; a block device is claimed, and
				    refused (-EBUSY) when it is mounted or otherwise in use */
#define KCOPYD_OPEN_CREATE 0x02u /* with WRITE: make a file that is not there */
#define KCOPYD_OPEN_DIRECT 0x04u /* past the page cache always; what does not fit is refused */
#define KCOPYD_OPEN_CACHED 0x08u /* through the page cache always */
#define KCOPYD_OPEN_SHARED 0x10u /* with WRITE: do not claim the block device */

/*
 * Opens a block device or a regular file. Without DIRECT or CACHED, I/O goes past the page cache
 * where the device allows it and the region fits.
 * -ENOENT, -EACCES, -EISDIR, -ENOTBLK (neither file nor block device), -EBUSY, -EROFS,
 * -EOPNOTSUPP (no direct I/O), -EINVAL.
 */
int kcopyd_device_open(const char *path, unsigned flags, struct block_device **result);

/* Closes it. Jobs that use it go on and end. NULL is fine. */
void kcopyd_device_close(struct block_device *bdev);

/* Its size in bytes, as it is now. */
uint64_t kcopyd_device_size(const struct block_device *bdev);

/* ---- Clients ---- */

/*
 * A client: a pool of `num_pages` pages of 4 KiB (at least 16), and a thread. It never takes more
 * memory for data, and no job that was accepted needs more.
 * -EINVAL, -ENOMEM, -EAGAIN.
 */
int kcopyd_client_create(unsigned num_pages, struct kcopyd_client **result);

#define KCOPYD_BACKEND_AUTO 0u     /* io_uring, or threads where the system refuses it */
#define KCOPYD_BACKEND_IO_URING 1u /* io_uring, or -ENOSYS */
#define KCOPYD_BACKEND_THREADS 2u

/* How a client is made. Set all to 0 first: 0 is the default of each. */
struct kcopyd_options {
	unsigned num_pages;     /* 1024 */
	unsigned backend;       /* KCOPYD_BACKEND_AUTO */
	unsigned request_bytes; /* the largest read or write; a multiple of 4096; 1 MiB */
	unsigned requests;      /* the most pieces on their way; 256 */
	unsigned queue;         /* the most jobs that wait; 1024 */
	unsigned reserved[3];   /* 0 */
};

int kcopyd_client_create_with(const struct kcopyd_options *options, struct kcopyd_client **result);

/*
 * Refuses further jobs, waits until every callback has run, frees the client. Inside a callback of
 * the same client it does not wait: the remaining callbacks still come after it has returned.
 * NULL is fine.
 */
void kcopyd_client_destroy(struct kcopyd_client *kc);

/*
 * The same, for a device that may never answer: -ETIMEDOUT when that took longer. The client then
 * still exists, refuses jobs (-ESHUTDOWN), and answers what it accepted when it can; call again.
 */
int kcopyd_client_destroy_timeout(struct kcopyd_client *kc, unsigned milliseconds);

/* "io-uring" or "threads". */
const char *kcopyd_client_backend(const struct kcopyd_client *kc);

/* A limit in bytes per second on what is started; 0 is no limit. May be changed at any time. */
int kcopyd_client_set_rate(const struct kcopyd_client *kc, uint64_t bytes_per_second);

struct kcopyd_stats {
	uint64_t jobs_submitted;
	uint64_t jobs_finished;
	uint64_t jobs_failed;
	uint64_t jobs_cancelled;
	uint64_t operations; /* handed to the backend */
	uint64_t syscalls;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t bytes_zeroed; /* without data */
	uint64_t pool_pages;
	uint64_t pool_peak_pages; /* the most that were in use at once */
	uint64_t reserved[5];     /* 0 */
};

int kcopyd_client_stats(const struct kcopyd_client *kc, struct kcopyd_stats *result);

/* ---- Jobs, as in the kernel ---- */

/* What to do when something fails. Without either: start nothing new, let the rest end. */
#define KCOPYD_IGNORE_ERROR 0x001u /* go on everywhere; what cannot be read is written as zeros */
#define KCOPYD_DETACH 0x008u       /* give up a destination that failed, go on with the others */

#define KCOPYD_WRITE_SEQ 0x002u      /* writes in increasing order, each after the one before */
#define KCOPYD_FLUSH 0x004u          /* what was written is durable before the callback */
#define KCOPYD_REFUSE_OVERLAP 0x010u /* -EINVAL where source and destination overlap; without it
					they are moved as memmove does */
#define KCOPYD_SKIP_ZEROS 0x020u     /* blocks of zeros are zeroed, not written */
#define KCOPYD_DEST_IS_ZERO 0x040u   /* the destinations read as zeros already */
#define KCOPYD_PUNCH_HOLES 0x080u    /* zeroing gives space back where it can */
#define KCOPYD_NO_ISOLATION 0x100u   /* do not look for the bad block inside an operation that
					failed */
#define KCOPYD_PRIORITY_HIGH 0x200u  /* when jobs compete for pages */
#define KCOPYD_PRIORITY_LOW 0x400u
#define KCOPYD_NOWAIT 0x800u /* -EBUSY instead of waiting while the queue is full */
#define KCOPYD_BYTES 0x1000u /* `sector` and `count` of all regions of this job count bytes, and so
				do `written_from` and `written` of its verdict */

/*
 * How a job ended. read_err is 1 if a read failed. Bit i of write_err is set if destination i
 * failed, or if the job was cancelled before it was done.
 */
typedef void (*kcopyd_notify_fn)(int read_err, unsigned int write_err, void *context);

/*
 * Copies `from` to `num_dests` (1..32) destinations of the same length. The regions are read
 * before this returns; the devices may be closed while the job runs.
 *
 * Waits while the queue is full; -EBUSY instead with NOWAIT, or inside a callback.
 * -EINVAL, -ERANGE (behind the end of a device), -EACCES (not open for that), -ESHUTDOWN (the
 * client is being destroyed), -ENOMEM (the pool is too small for the devices' alignment).
 */
int kcopyd_copy(struct kcopyd_client *kc, const struct io_region *from, unsigned num_dests,
		const struct io_region *dests, unsigned flags, kcopyd_notify_fn fn, void *context);

/* Makes the destinations read as zeros, without data where the device can. */
int kcopyd_zero(struct kcopyd_client *kc, unsigned num_dests, const struct io_region *dests,
		unsigned flags, kcopyd_notify_fn fn, void *context);

/*
 * A callback that is made now, and called later in line with those of the jobs. NULL on failure.
 * It ends with kcopyd_do_callback or kcopyd_discard_callback, whatever became of the client.
 */
struct kcopyd_prepared *kcopyd_prepare_callback(struct kcopyd_client *kc, kcopyd_notify_fn fn,
						void *context);

/* Has it called on the client's thread (on this one if the client is gone). Never waits. */
int kcopyd_do_callback(struct kcopyd_prepared *prepared, int read_err, unsigned int write_err);

/* Frees it without a call. */
void kcopyd_discard_callback(struct kcopyd_prepared *prepared);

/* ---- Jobs with a full verdict ---- */

#define KCOPYD_FAULT_NONE 0u
#define KCOPYD_FAULT_DEVICE 1u    /* the device answered with an error */
#define KCOPYD_FAULT_END 2u       /* the device ended before the region did */
#define KCOPYD_FAULT_DATA 3u      /* the data was refused */
#define KCOPYD_FAULT_FLUSH 4u     /* the flush failed: nothing that was written is surely durable */
#define KCOPYD_FAULT_CANCELLED 5u /* the job was cancelled before this destination was done */

/* What became of one destination. */
struct kcopyd_dest_verdict {
	int error;             /* 0, or a (positive) errno */
	unsigned fault;        /* KCOPYD_FAULT_* */
	sector_t bad_sector;   /* on the device: the first that failed */
	sector_t written_from; /* from the region's start: the longest run that is surely written */
	sector_t written;      /* (and durable, with KCOPYD_FLUSH); how long it is */
	sector_t differing;    /* comparisons: sectors that differ */
};

/* What became of a job. */
struct kcopyd_verdict {
	int read_error;           /* 0, or the (positive) errno of the first read that failed */
	unsigned read_fault;      /* KCOPYD_FAULT_* */
	sector_t read_bad_sector; /* on the source: the first that could not be read */
	uint64_t write_err;       /* bit i: destination i has an error */
	unsigned num_dests;
	unsigned cancelled; /* 1: ended before it was done */
	const struct kcopyd_dest_verdict *dests;
};

/* The verdict is valid until the callback returns. */
typedef void (*kcopyd_verdict_fn)(const struct kcopyd_verdict *verdict, void *context);

#define KCOPYD_JOB_COPY 0u
#define KCOPYD_JOB_ZERO 1u
#define KCOPYD_JOB_COMPARE 2u /* reads everything, writes nothing; see `differing` */
#define KCOPYD_JOB_FLUSH 3u   /* flushes the devices of the destinations; their regions are ignored */

/* A job. Set all to 0 first. */
struct kcopyd_job {
	unsigned kind;                /* KCOPYD_JOB_* */
	unsigned flags;               /* as for kcopyd_copy */
	const struct io_region *from; /* copy, compare */
	const struct io_region *dests;
	unsigned num_dests; /* 1..64 */
	unsigned reserved;  /* 0 */
	const struct kcopyd_cancel *cancel; /* NULL, or what cancels it */
};

/* Queues a job. Everything that `job` points to is read before this returns. As kcopyd_copy. */
int kcopyd_submit(struct kcopyd_client *kc, const struct kcopyd_job *job, kcopyd_verdict_fn fn,
		  void *context);

/* A token, for any number of jobs of this client. */
int kcopyd_cancel_create(const struct kcopyd_client *kc, struct kcopyd_cancel **result);

/* Cancels them: nothing new is started, what is in flight ends, then the callback comes. */
int kcopyd_cancel(const struct kcopyd_cancel *cancel);

/* Frees the token, jobs or not. Cancels nothing. NULL is fine. */
void kcopyd_cancel_destroy(struct kcopyd_cancel *cancel);

#ifdef __cplusplus
}
#endif

#endif

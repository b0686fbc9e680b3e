/*
 * without-io-uring ERRNO COMMAND [ARGS...]: runs a command whose calls of io_uring fail with ERRNO,
 * as they do in a container (EPERM) and on an old kernel (ENOSYS). Everything else is allowed.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The same numbers on every architecture. */
#define FIRST 425	/* io_uring_setup */
#define LAST 427	/* io_uring_register */

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: without-io-uring ERRNO COMMAND [ARGS...]\n");
		return 2;
	}
	unsigned int refusal = SECCOMP_RET_ERRNO | ((unsigned int)atoi(argv[1]) & SECCOMP_RET_DATA);
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, refusal),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(rules) / sizeof(rules[0]), rules };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
		perror("without-io-uring: no filter");
		return 125;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}

/*
 * Loaded before Debian's user-mode-linux kernel (LD_PRELOAD): wraps its ptrace() calls, twice.
 *
 * 1. The processes of the guest die with the kernel. Without PTRACE_O_EXITKILL a killed kernel (our
 *    power cut) would set them free, and their system calls would then reach the host.
 *
 * 2. It runs on processors with AMX. There the register area (XSAVE) is 11008 bytes, while the
 *    kernel 6.1 has a buffer of 2696 and the host refuses to set a part of the area (EFAULT). We
 *    hand over a whole area: the kernel's bytes, then zeroes, with the components that lie outside
 *    of the kernel's bytes marked as unused. The guest cannot use them anyway.
 *
 * The kernel is not preemptible and has one processor: no two calls run at once, so one static
 * buffer is enough.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define AREA_MAX 32768
#define COMPONENTS_OFFSET 512	/* of the bit map of used components, in the area's header */
#define COMPONENTS_LEGACY 0x0ffull	/* x87, SSE, AVX, MPX, AVX-512 */
#define COMPONENT_PKRU 0x200ull
#define AREA_WITH_PKRU 2696

static unsigned char area[AREA_MAX] __attribute__((aligned(64)));
static size_t area_host;	/* bytes the host wants; 0: not asked yet */

static long set_registers(pid_t pid, void *type, const struct iovec *given)
{
	struct iovec whole = { area, AREA_MAX };
	uint64_t components;

	if (!area_host && syscall(SYS_ptrace, PTRACE_GETREGSET, pid, type, &whole) == 0)
		area_host = whole.iov_len;
	if (area_host <= given->iov_len)
		return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, given);

	memset(area, 0, area_host);
	memcpy(area, given->iov_base, given->iov_len);
	memcpy(&components, area + COMPONENTS_OFFSET, sizeof(components));
	components &= COMPONENTS_LEGACY | (given->iov_len < AREA_WITH_PKRU ? 0 : COMPONENT_PKRU);
	memcpy(area + COMPONENTS_OFFSET, &components, sizeof(components));
	whole.iov_len = area_host;
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, type, &whole);
}

/* The C library's convention: the word that was looked at is the result. */
static long peek(long request, pid_t pid, void *address)
{
	long word = 0;
	long result = syscall(SYS_ptrace, request, pid, address, &word);

	if (result != 0)
		return result;
	errno = 0;
	return word;
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list list;
	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *address = va_arg(list, void *);
	void *data = va_arg(list, void *);
	va_end(list);

	switch (request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSER:
		return peek(request, pid, address);
	case PTRACE_SETREGSET:
		if ((uintptr_t)address == NT_X86_XSTATE && data)
			return set_registers(pid, address, data);
		break;
	case PTRACE_SETOPTIONS:
		data = (void *)((uintptr_t)data | PTRACE_O_EXITKILL);
		break;
	default:
		break;
	}
	return syscall(SYS_ptrace, request, pid, address, data);
}

//! Threads that call `pread` and `pwrite`: the fallback where io_uring is refused.

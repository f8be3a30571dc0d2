// Uses torch's threads: its OpenMP library is called by address, and no OpenMP library is linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace gradmeter {

// Addresses of GOMP_parallel and omp_get_thread_num in the library that the process has loaded; with 0 every call
// starts its own threads.
void use_openmp(std::uintptr_t parallel, std::uintptr_t thread_number);

// Calls work(first, last) for consecutive ranges of [0, count), on the calling thread and up to threads - 1 others.
// Thread i begins with the i-th part, as in torch's own loops, because its data is in the cache of its processor.
// begin() is called once on each thread and returns its work. The first exception is rethrown at the end.
using Work = std::function<void(std::ptrdiff_t first, std::ptrdiff_t last)>;
void share(int threads, std::ptrdiff_t count, std::ptrdiff_t grain, const std::function<Work()>& begin);

}  // namespace gradmeter

// Threads that torch already has: its OpenMP library is called by address, none is linked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace gradmeter {

// Addresses of GOMP_parallel and omp_get_thread_num in the library that the process has loaded; 0: threads are started
// for each call.
void use_openmp(std::uintptr_t parallel, std::uintptr_t thread_number);

// Calls work(first, last) for consecutive ranges of [0, count), on the calling thread and up to threads - 1 others.
// Thread i begins with the i-th part, as torch's own loops do: what it needs lies in its processor's cache. begin() is called once on each thread and returns its work. The first exception is thrown again at the end.
using Work = std::function<void(std::ptrdiff_t first, std::ptrdiff_t last)>;
void share(int threads, std::ptrdiff_t count, std::ptrdiff_t grain, const std::function<Work()>& begin);

}  // namespace gradmeter

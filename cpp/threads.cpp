#include "threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gradmeter {

namespace {

using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using OmpThreadNumber = int (*)();
std::atomic<GompParallel> gomp_parallel{nullptr};
std::atomic<OmpThreadNumber> omp_thread_number{nullptr};

// The share of one thread, on its own cache line: other threads read it only when their own share is done.
struct alignas(64) Share {
    std::atomic<std::ptrdiff_t> next{0};
    std::ptrdiff_t last = 0;
};

struct Team {
    std::ptrdiff_t grain;
    const std::function<Work()>& begin;
    OmpThreadNumber number;
    std::vector<Share> shares;
    std::exception_ptr failure = nullptr;
    std::mutex mutex{};

    Team(int threads, std::ptrdiff_t count, std::ptrdiff_t grain, const std::function<Work()>& begin,
         OmpThreadNumber number)
        : grain(grain), begin(begin), number(number), shares(static_cast<std::size_t>(threads)) {
        const std::ptrdiff_t grains = (count + grain - 1) / grain;
        for (std::ptrdiff_t i = 0; i < threads; ++i) {
            shares[i].next = std::min(count, grains * i / threads * grain);
            shares[i].last = std::min(count, grains * (i + 1) / threads * grain);
        }
    }

    // First this thread's share, from front to back, then the rest of the other shares.
    void join(std::size_t own) noexcept {
        try {
            Work work;
            for (std::size_t i = 0; i < shares.size(); ++i) {
                Share& share = shares[(own + i) % shares.size()];
                for (;;) {
                    const std::ptrdiff_t first = share.next.fetch_add(grain);
                    if (first >= share.last) break;
                    if (!work) work = begin();
                    work(first, std::min(first + grain, share.last));
                }
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!failure) failure = std::current_exception();
            for (Share& share : shares) share.next = share.last;
        }
    }
};

}  // namespace

void use_openmp(std::uintptr_t parallel, std::uintptr_t thread_number) {
    omp_thread_number = reinterpret_cast<OmpThreadNumber>(thread_number);
    gomp_parallel = thread_number ? reinterpret_cast<GompParallel>(parallel) : nullptr;
}

void share(int threads, std::ptrdiff_t count, std::ptrdiff_t grain, const std::function<Work()>& begin) {
    const auto useful = static_cast<int>(std::min<std::ptrdiff_t>(threads, (count + grain - 1) / grain));
    Team team(std::max(1, useful), count, grain, begin, omp_thread_number);
    const GompParallel openmp = gomp_parallel;
    if (useful <= 1) {
        team.join(0);
    } else if (openmp) {
        const auto join = [](void* data) {
            Team& joined = *static_cast<Team*>(data);
            joined.join(static_cast<std::size_t>(joined.number()));
        };
        openmp(join, &team, static_cast<unsigned>(useful), 0);
    } else {
        std::vector<std::thread> others;
        for (int i = 1; i < useful; ++i) others.emplace_back([&team, i] { team.join(static_cast<std::size_t>(i)); });
        team.join(0);
        for (std::thread& other : others) other.join();
    }
    if (team.failure) std::rethrow_exception(team.failure);
}

}  // namespace gradmeter

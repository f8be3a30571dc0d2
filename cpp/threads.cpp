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
std::atomic<GompParallel> gomp_parallel{nullptr};

struct Team {
    std::ptrdiff_t count, grain;
    const std::function<Work()>& begin;
    std::atomic<std::ptrdiff_t> next{0};
    std::exception_ptr failure = nullptr;
    std::mutex mutex{};

    void join() noexcept {
        try {
            Work work;
            for (;;) {
                const std::ptrdiff_t first = next.fetch_add(grain);
                if (first >= count) return;
                if (!work) work = begin();
                work(first, std::min(first + grain, count));
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!failure) failure = std::current_exception();
            next = count;
        }
    }
};

}  // namespace

void use_openmp(std::uintptr_t address) { gomp_parallel = reinterpret_cast<GompParallel>(address); }

void share(int threads, std::ptrdiff_t count, std::ptrdiff_t grain, const std::function<Work()>& begin) {
    Team team{count, grain, begin};
    const auto useful = static_cast<int>(std::min<std::ptrdiff_t>(threads, (count + grain - 1) / grain));
    const GompParallel openmp = gomp_parallel;
    if (useful <= 1) {
        team.join();
    } else if (openmp) {
        openmp([](void* data) { static_cast<Team*>(data)->join(); }, &team, static_cast<unsigned>(useful), 0);
    } else {
        std::vector<std::thread> others;
        for (int i = 1; i < useful; ++i) others.emplace_back([&team] { team.join(); });
        team.join();
        for (std::thread& other : others) other.join();
    }
    if (team.failure) std::rethrow_exception(team.failure);
}

}  // namespace gradmeter

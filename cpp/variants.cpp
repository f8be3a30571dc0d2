#include "variants.h"

#include <atomic>
#include <stdexcept>

namespace gradmeter {

#ifdef GRADMETER_X86_64_V4
extern const Variant x86_64_v4;
#endif
#ifdef GRADMETER_X86_64_V3
extern const Variant x86_64_v3;
#endif
#ifdef GRADMETER_X86_64_V2
extern const Variant x86_64_v2;
#endif
#ifdef GRADMETER_BASELINE
extern const Variant baseline;
#endif

namespace {
std::atomic<const Variant*> chosen{nullptr};
}

std::vector<const Variant*> runnable_variants() {
    std::vector<const Variant*> found;
#ifdef GRADMETER_X86_64_V4
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2")) {
        found.push_back(&x86_64_v4);
    }
#endif
#ifdef GRADMETER_X86_64_V3
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
        found.push_back(&x86_64_v3);
    }
#endif
#ifdef GRADMETER_X86_64_V2
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) found.push_back(&x86_64_v2);
#endif
#ifdef GRADMETER_BASELINE
    found.push_back(&baseline);
#endif
    return found;
}

const Variant& variant() {
    if (const Variant* already = chosen) return *already;
    const std::vector<const Variant*> found = runnable_variants();
    if (found.empty()) throw std::runtime_error("this processor is older than x86-64-v2");
    chosen = found.front();
    return *found.front();
}

void select_variant(const std::string& name) {
    std::string names;
    for (const Variant* candidate : runnable_variants()) {
        if (name == candidate->name) {
            chosen = candidate;
            return;
        }
        names += (names.empty() ? "" : ", ") + std::string(candidate->name);
    }
    throw std::invalid_argument("kernel '" + name + "' is unknown or cannot run here; expected one of " + names);
}

}  // namespace gradmeter

// Vectors of the width that this translation unit is compiled for. Included by kernel.cpp only.
#pragma once

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr bool kManyRegisters = true;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr bool kManyRegisters = false;
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr bool kManyRegisters = true;
#else
constexpr int kLanes = 4;
constexpr bool kManyRegisters = false;
#endif

using Vector = float __attribute__((vector_size(4 * kLanes)));
using Bits = std::int32_t __attribute__((vector_size(4 * kLanes)));
using WideBits = std::int64_t __attribute__((vector_size(4 * kLanes)));
using Half = float __attribute__((vector_size(2 * kLanes)));
using Wide = double __attribute__((vector_size(4 * kLanes)));

#define ALWAYS_INLINE inline __attribute__((always_inline))

// Unaligned memory.
template <class V, class Float>
ALWAYS_INLINE V read(const Float* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}
ALWAYS_INLINE Vector load(const float* from) { return read<Vector>(from); }
ALWAYS_INLINE Wide load_wide(const double* from) { return read<Wide>(from); }
ALWAYS_INLINE Wide load_widened(const float* from) { return __builtin_convertvector(read<Half>(from), Wide); }

template <class V, class Float>
ALWAYS_INLINE void store(Float* to, V value) {
    __builtin_memcpy(to, &value, sizeof value);
}

template <class V>
ALWAYS_INLINE V smaller(V x, V y) {
    return x < y ? x : y;
}
template <class V>
ALWAYS_INLINE V larger(V x, V y) {
    return x > y ? x : y;
}
ALWAYS_INLINE Vector magnitude(Vector x) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & 0x7fffffff); }

ALWAYS_INLINE Wide magnitude(Wide x) {
    return reinterpret_cast<Wide>(reinterpret_cast<WideBits>(x) & 0x7fffffffffffffff);
}

ALWAYS_INLINE double sum_of_lanes(Wide values) {
    double sum = 0;
    for (int lane = 0; lane < kLanes / 2; ++lane) sum += values[lane];
    return sum;
}

// Unrolls a loop over vectors, so that they can be kept in registers.
#define UNROLL _Pragma("GCC unroll 32")

}  // namespace

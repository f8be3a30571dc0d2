// Copies with contiguous channels, and scans for the scale. Included by kernel.cpp only.
#pragma once

namespace {

// Copies the positions of one row with contiguous channels.
template <int Vectors>
ALWAYS_INLINE void copy_vectors(const float* from, Index from_step, float* to, Index to_step, Index count) {
    for (Index x = 0; x < count; ++x, from += from_step, to += to_step) {
        UNROLL for (int v = 0; v < Vectors; ++v) store(to + v * kLanes, load(from + v * kLanes));
    }
}

void copy_floats(const float* from, float* to, Index count) {
    Index i = 0;
    for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
    for (; i < count; ++i) to[i] = from[i];
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define GRADMETER_SHUFFLE
using Quad = float __attribute__((vector_size(16)));

// Transposes four channels with contiguous positions to contiguous channels.
void transpose_four(const float* from, const Index* channel, Index count, float* to, Index to_step) {
    const float* row[4] = {from + channel[0], from + channel[1], from + channel[2], from + channel[3]};
    Index x = 0;
    for (; x + 4 <= count; x += 4) {
        Quad in[4];
        UNROLL for (int i = 0; i < 4; ++i) in[i] = read<Quad>(row[i] + x);
        const Quad low[2] = {__builtin_shufflevector(in[0], in[1], 0, 4, 1, 5),
                             __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5)};
        const Quad high[2] = {__builtin_shufflevector(in[0], in[1], 2, 6, 3, 7),
                              __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7)};
        const Quad out[4] = {__builtin_shufflevector(low[0], low[1], 0, 1, 4, 5),
                             __builtin_shufflevector(low[0], low[1], 2, 3, 6, 7),
                             __builtin_shufflevector(high[0], high[1], 0, 1, 4, 5),
                             __builtin_shufflevector(high[0], high[1], 2, 3, 6, 7)};
        UNROLL for (int i = 0; i < 4; ++i) store(to + (x + i) * to_step, out[i]);
    }
    for (; x < count; ++x) {
        UNROLL for (int i = 0; i < 4; ++i) to[x * to_step + i] = row[i][x];
    }
}
#endif
#endif

// Copies `lanes` channels of each position of a row contiguously, and fills with zeros up to `width`.
void gather_row(const float* from, Index from_step, const Index* channel, bool consecutive, Index lanes, Index count,
                float* to, Index to_step, Index width) {
    if (consecutive) {
        from += channel[0];
        if (lanes == width && from_step == width && to_step == width) {
            copy_floats(from, to, count * width);
        } else if (lanes == width && width == kLanes) {
            copy_vectors<1>(from, from_step, to, to_step, count);
        } else if (lanes == width && width == 2 * kLanes) {
            copy_vectors<2>(from, from_step, to, to_step, count);
        } else {
            for (Index x = 0; x < count; ++x, from += from_step, to += to_step) {
                copy_floats(from, to, lanes);
                for (Index i = lanes; i < width; ++i) to[i] = 0;
            }
        }
        return;
    }
    Index done = 0;
#ifdef GRADMETER_SHUFFLE
    if (from_step == 1) {
        for (; done + 4 <= lanes; done += 4) transpose_four(from, channel + done, count, to + done, to_step);
    }
#endif
    for (Index i = done; i < lanes; ++i) {
        const float* source = from + channel[i];
        for (Index x = 0; x < count; ++x) to[x * to_step + i] = source[x * from_step];
    }
    for (Index i = lanes; i < width; ++i) {
        for (Index x = 0; x < count; ++x) to[x * to_step + i] = 0;
    }
}

float largest_lane(Vector values) {
    float result = 0;
    for (int lane = 0; lane < kLanes; ++lane) result = larger(values[lane], result);
    return result;
}

// Largest magnitude and sums over positions of a packed delta.
template <int Vectors>
struct Scan {
    static constexpr int kChains = 4 / Vectors;  // independent chains of additions, to hide their latency
    static constexpr Index kRun = 4 * kChains;   // positions that are summed in float32

    Vector largest[kChains * Vectors] = {};
    Wide total[2 * Vectors] = {};

    ALWAYS_INLINE void add(const float* packed, Index positions) {
        Index t = 0;
        for (; t + kRun <= positions; t += kRun, packed += kRun * Vectors * kLanes) {
            Vector run[kChains * Vectors] = {};
            UNROLL for (int i = 0; i < kRun * Vectors; ++i) {
                const Vector x = load(packed + i * kLanes);
                run[i % (kChains * Vectors)] += x;
                largest[i % (kChains * Vectors)] = larger(magnitude(x), largest[i % (kChains * Vectors)]);
            }
            UNROLL for (int i = Vectors; i < kChains * Vectors; ++i) run[i % Vectors] += run[i];
            UNROLL for (int v = 0; v < Vectors; ++v) widen(v, run[v]);
        }
        for (; t < positions; ++t, packed += Vectors * kLanes) {
            UNROLL for (int v = 0; v < Vectors; ++v) {
                const Vector x = load(packed + v * kLanes);
                largest[v] = larger(magnitude(x), largest[v]);
                widen(v, x);
            }
        }
    }

    ALWAYS_INLINE void widen(int v, Vector x) {
        float lanes[kLanes];
        store(lanes, x);
        UNROLL for (int h = 0; h < 2; ++h) total[2 * v + h] += load_widened(lanes + h * (kLanes / 2));
    }

    ALWAYS_INLINE float finish(double* sums) {
        UNROLL for (int h = 0; h < 2 * Vectors; ++h) store(sums + h * (kLanes / 2), total[h]);
        UNROLL for (int i = 1; i < kChains * Vectors; ++i) largest[0] = larger(largest[i], largest[0]);
        return largest_lane(largest[0]);
    }
};

float largest_of_run(const float* run, const Axis& axis) {
    constexpr int kChains = 4;
    Vector largest[kChains] = {};
    Index x = 0;
    if (axis.stride == 1) {
        for (; x + kChains * kLanes <= axis.size; x += kChains * kLanes) {
            UNROLL for (int i = 0; i < kChains; ++i) {
                largest[i] = larger(magnitude(load(run + x + i * kLanes)), largest[i]);
            }
        }
    }
    float result = largest_lane(larger(larger(largest[0], largest[1]), larger(largest[2], largest[3])));
    for (; x < axis.size; ++x) {
        const float value = run[x * axis.stride];
        result = larger(value < 0 ? -value : value, result);
    }
    return result;
}

// Largest magnitude of one sample.
float largest_of(const float* values, const Axis axes[4]) {
    float result = 0;
    for (Index i = 0; i < axes[0].size; ++i) {
        for (Index j = 0; j < axes[1].size; ++j) {
            for (Index k = 0; k < axes[2].size; ++k) {
                const float* run = values + i * axes[0].stride + j * axes[1].stride + k * axes[2].stride;
                result = larger(largest_of_run(run, axes[3]), result);
            }
        }
    }
    return result;
}

}  // namespace

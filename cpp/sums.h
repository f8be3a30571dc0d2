// Reductions of materialised gradients and of the gradients of BatchNorm's scale and shift.
#pragma once

namespace {

ALWAYS_INLINE Wide widened(const float* from) { return load_widened(from); }
ALWAYS_INLINE Wide widened(const double* from) { return load_wide(from); }

// Vectors of a type, and of integers of its size.
template <class Float>
struct VectorOf;
template <>
struct VectorOf<float> {
    using Values = Vector;
    using Integers = Bits;
};
template <>
struct VectorOf<double> {
    using Values = Wide;
    using Integers = WideBits;
};

// The seven sums of contiguous values, in float64. With Positive also the number of values above zero; these are fewer
// than 2^31.
template <bool Positive = false, class Float>
void reduce(const Float* values, Index count, double* sums) {
    constexpr int kStep = kLanes / 2, kChains = 2;
    // Comparisons are exact in the type of the values, of which a vector holds as many as possible.
    using Native = typename VectorOf<Float>::Values;
    using NativeBits = typename VectorOf<Float>::Integers;
    constexpr int kNativeLanes = sizeof(Native) / sizeof(Float), kNatives = kChains * kStep / kNativeLanes;
    Wide power[5][kChains] = {};
    Native lowest[kNatives], highest[kNatives];
    NativeBits positive[kNatives] = {};
    UNROLL for (int i = 0; i < kNatives; ++i) {
        lowest[i] = Native{} + static_cast<Float>(__builtin_inf());
        highest[i] = Native{} - static_cast<Float>(__builtin_inf());
    }
    Index at = 0;
    for (; at + kChains * kStep <= count; at += kChains * kStep) {
        UNROLL for (int i = 0; i < kChains; ++i) {
            const Wide x = widened(values + at + i * kStep), square = x * x;
            power[0][i] += x;
            power[1][i] += square;
            power[2][i] += square * x;
            power[3][i] += square * square;
            power[4][i] += magnitude(x);
        }
        UNROLL for (int i = 0; i < kNatives; ++i) {
            const Native x = read<Native>(values + at + i * kNativeLanes);
            lowest[i] = smaller(x, lowest[i]);
            highest[i] = larger(x, highest[i]);
            if constexpr (Positive) positive[i] -= reinterpret_cast<NativeBits>(x > 0);  // true is -1
        }
    }
    for (int k = 0; k < 5; ++k) sums[k] = sum_of_lanes(power[k][0] + power[k][1]);
    sums[5] = __builtin_inf();
    sums[6] = -__builtin_inf();
    Index above = 0;
    for (int i = 0; i < kNatives; ++i) {
        for (int lane = 0; lane < kNativeLanes; ++lane) {
            sums[5] = smaller<double>(lowest[i][lane], sums[5]);
            sums[6] = larger<double>(highest[i][lane], sums[6]);
            above += positive[i][lane];
        }
    }
    // As a vector, so that no compiler fuses the products with the sums, which would change their last bits.
    using Powers = double __attribute__((vector_size(32)));
    Powers powers = read<Powers>(sums);
    for (; at < count; ++at) {
        const double x = values[at], square = x * x;
        powers += Powers{x, square, square * x, square * square};
        sums[4] += x < 0 ? -x : x;
        sums[5] = smaller(x, sums[5]);
        sums[6] = larger(x, sums[6]);
        above += x > 0;
    }
    store(sums, powers);
    if constexpr (Positive) sums[kSums] = static_cast<double>(above);
}

// Contiguous channels, a few vectors of them at a time.
template <int Vectors>
void side_by_side(const Channels& delta, const Channels& activation, const float* mean, const Index size[3],
                  Index channel, double* products, double* totals) {
    constexpr int kStep = kLanes / 2;
    Wide product[Vectors] = {}, total[Vectors] = {}, centre[Vectors] = {};
    if (mean) {
        UNROLL for (int v = 0; v < Vectors; ++v) centre[v] = load_widened(mean + channel + v * kStep);
    }
    for (Index z = 0; z < size[0]; ++z) {
        for (Index y = 0; y < size[1]; ++y) {
            const float* d = delta.data + channel + z * delta.position[0] + y * delta.position[1];
            const float* a = activation.data + channel + z * activation.position[0] + y * activation.position[1];
            for (Index x = 0; x < size[2]; ++x) {
                UNROLL for (int v = 0; v < Vectors; ++v) {
                    const Wide g = load_widened(d + v * kStep);
                    product[v] += g * (load_widened(a + v * kStep) - centre[v]);
                    total[v] += g;
                }
                d += delta.position[2];
                a += activation.position[2];
            }
        }
    }
    UNROLL for (int v = 0; v < Vectors; ++v) store(products + channel + v * kStep, product[v]);
    UNROLL for (int v = 0; v < Vectors; ++v) store(totals + channel + v * kStep, total[v]);
}

// A single channel.
void one_channel(const Channels& delta, const Channels& activation, const float* mean, const Index size[3],
                 Index channel, double* products, double* totals) {
    constexpr int kVectors = 4, kStep = kLanes / 2;
    const double centre = mean ? static_cast<double>(mean[channel]) : 0.0;
    const Index d_step = delta.position[2], a_step = activation.position[2];
    Wide product[kVectors] = {}, total[kVectors] = {};
    double product_rest = 0, total_rest = 0;
    for (Index z = 0; z < size[0]; ++z) {
        for (Index y = 0; y < size[1]; ++y) {
            const float* d = delta.data + channel * delta.channel + z * delta.position[0] + y * delta.position[1];
            const float* a = activation.data + channel * activation.channel + z * activation.position[0] +
                             y * activation.position[1];
            Index x = 0;
            if (d_step == 1 && a_step == 1) {
                for (; x + kVectors * kStep <= size[2]; x += kVectors * kStep) {
                    UNROLL for (int v = 0; v < kVectors; ++v) {
                        const Wide g = load_widened(d + x + v * kStep);
                        product[v] += g * (load_widened(a + x + v * kStep) - centre);
                        total[v] += g;
                    }
                }
                for (; x + kStep <= size[2]; x += kStep) {
                    const Wide g = load_widened(d + x);
                    product[0] += g * (load_widened(a + x) - centre);
                    total[0] += g;
                }
            }
            for (; x < size[2]; ++x) {
                const double g = d[x * d_step];
                product_rest += g * (a[x * a_step] - centre);
                total_rest += g;
            }
        }
    }
    UNROLL for (int v = 1; v < kVectors; ++v) {
        product[0] += product[v];
        total[0] += total[v];
    }
    products[channel] = product_rest + sum_of_lanes(product[0]);
    totals[channel] = total_rest + sum_of_lanes(total[0]);
}

// Sums of delta * (activation - mean) and of delta over positions, for a range of channels, in float64.
void channel_sums(const Channels& delta, const Channels& activation, const float* mean, const Index size[3],
                  Index first, Index last, double* products, double* totals) {
    constexpr int kVectors = kManyRegisters ? 8 : 2;
    constexpr int kStep = kLanes / 2;
    Index channel = first;
    if (delta.channel == 1 && activation.channel == 1) {
        for (; channel + kVectors * kStep <= last; channel += kVectors * kStep) {
            side_by_side<kVectors>(delta, activation, mean, size, channel, products, totals);
        }
        for (; channel + kStep <= last; channel += kStep) {
            side_by_side<1>(delta, activation, mean, size, channel, products, totals);
        }
    }
    for (; channel < last; ++channel) one_channel(delta, activation, mean, size, channel, products, totals);
}

}  // namespace

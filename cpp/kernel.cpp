// The kernels, compiled once per processor type; GRADMETER_SYMBOL names the result. Everything but that name has
// internal linkage, and the standard library is not used, because the linker must not share a function compiled for a
// newer processor with code that runs on an older one.
#include "correlation.h"

using namespace gradmeter;

// Each header uses the ones before it.
#include "vectors.h"
#include "sums.h"
#include "tile.h"
#include "packing.h"

namespace {

constexpr float kInfinity = __builtin_inff();

// Binary exponent of a magnitude; 0 if the magnitude is zero or not finite.
int exponent(float magnitude) {
    if (!(magnitude > 0) || magnitude == kInfinity) return 0;
    std::uint32_t bits;
    __builtin_memcpy(&bits, &magnitude, sizeof bits);
    return static_cast<int>(bits >> 23) - 127;
}

int clamped(int power) { return power < -126 ? -126 : power > 126 ? 126 : power; }

double power_of_two(int power) { return __builtin_ldexp(1.0, power); }

// Delta of one block of output channels as [positions, Vectors * kLanes]; copied unless it already has this layout.
template <int Vectors>
void pack_delta(const Correlation& c, Scratch& scratch, Index sample, const Unit& unit) {
    constexpr Index kStride = Vectors * kLanes;
    constexpr Index kChunk = 256;  // positions that are still in the L1 cache when they are scanned
    const float* from = c.delta + sample * c.delta_sample;
    Scan<Vectors> scan;
    const bool one_run = c.run.size[0] == 1 && c.run.size[1] == 1 && c.run.first[2] == kStride;
    if (one_run && c.delta_consecutive && unit.lanes == kStride) {
        scratch.packed = from + c.delta_offset[unit.lane];
        scan.add(scratch.packed, c.positions);
    } else {
        float* to = scratch.delta;
        scratch.packed = to;
        for (Index z = 0; z < c.run.size[0]; ++z) {
            for (Index y = 0; y < c.run.size[1]; ++y) {
                const float* row = from + z * c.run.first[0] + y * c.run.first[1];
                for (Index x = 0; x < c.run.size[2]; x += kChunk) {
                    const Index count = smaller(kChunk, c.run.size[2] - x);
                    gather_row(row + x * c.run.first[2], c.run.first[2], c.delta_offset + unit.lane,
                               c.delta_consecutive, unit.lanes, count, to, kStride, kStride);
                    scan.add(to, count);
                    to += count * kStride;
                }
            }
        }
    }
    scratch.largest_delta = scan.finish(scratch.bias);
    scratch.delta_sample = sample;
    scratch.delta_lane = unit.lane;
}

const float* place_activation(const Correlation& c, Scratch& scratch, Index sample, const Unit& unit) {
    const float* from = c.activation + sample * c.activation_sample;
    if (scratch.largest_sample != sample) {
        scratch.largest_activation = largest_of(from, c.axes);
        scratch.largest_sample = sample;
    }
    if (!c.copies) return from + c.activation_offset[unit.source];
    if (scratch.activation_sample == sample && scratch.activation_source == unit.source) return scratch.activation;
    const Index width = unit.width;
    const Index to_stride[3] = {c.extent[1] * c.extent[2] * width, c.extent[2] * width, width};
    Index size[3];
    for (int i = 0; i < 3; ++i) size[i] = smaller(c.in[i], c.extent[i] - c.before[i]);
    if (c.padded && !scratch.zeroed) {
        __builtin_memset(scratch.activation, 0, sizeof(float) * static_cast<std::size_t>(c.extent[0] * to_stride[0]));
        scratch.zeroed = true;
    }
    float* to = scratch.activation;
    for (int i = 0; i < 3; ++i) to += c.before[i] * to_stride[i];
    for (Index z = 0; z < size[0]; ++z) {
        for (Index y = 0; y < size[1]; ++y) {
            gather_row(from + z * c.activation_stride[0] + y * c.activation_stride[1], c.activation_stride[2],
                       c.activation_offset + unit.source, c.activation_consecutive, unit.sources, size[2],
                       to + z * to_stride[0] + y * to_stride[1], to_stride[2], width);
        }
    }
    scratch.activation_sample = sample;
    scratch.activation_source = unit.source;
    return scratch.activation;
}

// Sums of one unit's entries times 2^power; returns the largest scaled magnitude.
float accumulate_tiles(const Correlation& c, const Unit& unit, Context& context, int power, double* sums) {
    Totals totals = {};
    for (int v = 0; v < kMostVectors; ++v) {
        for (int lane = 0; lane < kLanes; ++lane) {
            totals.lowest[v][lane] = kInfinity;
            totals.highest[v][lane] = -kInfinity;
        }
    }
    totals.closed_lowest = __builtin_inf();
    totals.closed_highest = -__builtin_inf();
    context.scale = static_cast<float>(power_of_two(power));
    for (Index t = unit.first_tile; t < unit.last_tile; ++t) c.tiles[t].function(context, c.tiles[t], totals);

    const double unscale = power_of_two(-power);
    double factor = 1;
    for (int k = 0; k < 4; ++k) {
        double sum = 0;
        for (const double lane : totals.power[k]) sum += lane;
        factor *= unscale;
        sums[k] = sum * factor + totals.closed[k];
    }
    double absolute = 0;
    for (const double lane : totals.power[4]) absolute += lane;
    sums[4] = absolute * unscale + totals.closed[4];
    double lowest = kInfinity, highest = -kInfinity;
    for (Index lane = 0; lane < unit.lanes; ++lane) {
        lowest = smaller<double>(totals.lowest[lane / kLanes][lane % kLanes], lowest);
        highest = larger<double>(totals.highest[lane / kLanes][lane % kLanes], highest);
    }
    sums[5] = smaller(lowest * unscale, totals.closed_lowest);
    sums[6] = larger(highest * unscale, totals.closed_highest);
    return highest < lowest ? 0 : static_cast<float>(larger(-lowest, highest));
}

void run(const Correlation& c, Scratch& scratch, Index sample, const Unit& unit, double* sums, double* bias) {
    Context context;
    if (scratch.delta_sample != sample || scratch.delta_lane != unit.lane) {
        unit.vectors == 2 ? pack_delta<2>(c, scratch, sample, unit) : pack_delta<1>(c, scratch, sample, unit);
    }
    context.delta = scratch.packed;
    context.activation = place_activation(c, scratch, sample, unit);
    context.rectangles = c.rectangles;
    context.stride = unit.vectors * kLanes;
    context.lanes = unit.lanes;
    if (bias && unit.writes_bias) {
        for (Index lane = 0; lane < unit.lanes; ++lane) {
            const Index channel = c.bias_channel[unit.lane + lane];
            if (channel >= 0) bias[channel] = scratch.bias[lane];
        }
    }
    // g^4 of small gradients would underflow in float32, so the entries are scaled by a power of two to about 1. The
    // power comes from an upper bound of the entries, and from their actual size if they turn out much smaller.
    const int power = clamped(-exponent(scratch.largest_delta) - exponent(scratch.largest_activation));
    const float largest = accumulate_tiles(c, unit, context, power, sums);
    if (largest > 0 && largest < 0x1p-20f) {
        accumulate_tiles(c, unit, context, clamped(power - exponent(largest)), sums);
    }
}

}  // namespace

namespace gradmeter {

extern const Variant GRADMETER_SYMBOL;
const Variant GRADMETER_SYMBOL = {
    GRADMETER_NAME,
    kLanes,
    {most_taps(Kind::kWide), most_taps(Kind::kNarrow), most_taps(Kind::kChannel)},
    find_tile_of,
    outer,
    nothing,
    run,
    {reduce<false, float>, reduce<true, float>},
    {reduce<false, double>, reduce<true, double>},
    channel_sums,
};

}  // namespace gradmeter

// What the planner hands to the kernels: plain data, so that nothing of the standard library is compiled twice.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradmeter {

using Index = std::ptrdiff_t;

// S1, S2, S3, S4, sum of |g|, min, max.
constexpr int kSums = 7;
// Widest vector any variant uses, and the most vectors of output channels one tile holds.
constexpr int kMostLanes = 16;
constexpr int kMostVectors = 2;
// Most runs of neighbouring taps in one tile: each takes an address register.
constexpr int kMostRows = 5;
// Longer sums of float32 products would lose digits: they continue in float64.
constexpr Index kBlock = 512;

// Output positions walked row by row. Offsets of delta count positions, offsets of the activation count floats.
struct Rectangle {
    Index delta, activation;
    Index count, width;
    Index activation_step, activation_gap, delta_gap;
};

// Consecutive rectangles of at most kBlock positions together.
struct Block {
    Index first, last;
};

// Sums over one unit, lane by lane, of entries multiplied by a power of two; and the closed forms, unscaled.
struct Totals {
    double power[5][kMostLanes];
    float lowest[kMostVectors][kMostLanes], highest[kMostVectors][kMostLanes];
    double closed[5], closed_lowest, closed_highest;
};

// What the tiles of one unit read.
struct Context {
    const float* delta;       // packed, [positions, stride]
    const float* activation;  // a channel and its successors lie side by side
    const Rectangle* rectangles;
    Index stride;             // floats per position of the packed delta
    Index lanes;              // those in use
    float scale;
};

struct Tile;
using TileFunction = void (*)(const Context&, const Tile&, Totals&);

// The taps that one run over the positions accumulates: `rows` starts of consecutive columns.
struct Tile {
    TileFunction function;
    const Index* rows;
    Index activation;
    const Block* blocks;
    Index block_count;
    Index channels;  // input channels, for the closed forms
};

// One piece of work on one sample: a block of output channels and a range of tiles.
struct Unit {
    Index lane, lanes;         // first and number in the lane tables of delta
    Index source, sources;     // first and number in the channel table of the activation
    Index first_tile, last_tile;
    Index width;               // floats per position of the copied activation
    int vectors;               // vectors per position of the packed delta
    bool writes_bias;          // the first unit of its output channels
};

enum class Kind { kWide, kNarrow, kChannel };  // 2 or 1 vectors of output channels times scalars; channel by channel

struct Axis {
    Index size, stride;
};

// Spatial axes of two tensors of one shape, those along which both run on without a gap joined.
struct Walk {
    Index size[3] = {1, 1, 1}, first[3] = {}, second[3] = {};
};

// One call: tensors, geometry and the list of tiles. Spatial arrays are (depth, height, width).
struct Correlation {
    const float* delta;
    Index delta_sample, positions;
    Walk run;  // its spatial axes
    const Index* delta_offset;  // per lane
    const Index* bias_channel;  // per lane; -1: another lane writes it
    bool delta_consecutive;

    const float* activation;
    Index activation_sample, activation_stride[3], in[3];
    const Index* activation_offset;  // per channel
    bool activation_consecutive;
    Axis axes[4];  // all of one sample, the shortest stride last

    bool copies;  // the kernel reads the activation from a copy, channels last, padded
    Index before[3], extent[3];  // zeros in front of, and size of, the copy
    bool padded;

    const Rectangle* rectangles;
    const Tile* tiles;
};

// A thread's memory, and what it holds at the moment.
struct Scratch {
    float* delta;
    float* activation;
    const float* packed;
    Index delta_sample, delta_lane;
    Index activation_sample, activation_source;
    Index largest_sample;
    bool zeroed;
    float largest_delta, largest_activation;
    double bias[kMostLanes * kMostVectors];
};

// One sample of one tensor of `channel_sums`.
struct Channels {
    const float* data;
    Index channel;
    const Index* position;  // strides
};

// What each translation unit compiled for one processor offers.
struct Variant {
    const char* name;
    int lanes;
    int most_taps[3];  // by kind
    TileFunction (*tile)(Kind kind, int rows, int columns);  // null: not built
    TileFunction outer;                                      // one position: a closed form
    TileFunction nothing;                                    // no position: zeros
    void (*run)(const Correlation&, Scratch&, Index sample, const Unit&, double* sums, double* bias);
    void (*reduce_float)(const float* values, Index count, double* sums);
    void (*reduce_double)(const double* values, Index count, double* sums);
    void (*channel_sums)(const Channels& delta, const Channels& activation, const float* mean, const Index size[3],
                         Index first, Index last, double* products, double* totals);
};

}  // namespace gradmeter

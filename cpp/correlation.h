// The interface between the planner and the kernels: plain data, so that no standard library code is compiled twice.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradmeter {

using Index = std::ptrdiff_t;

// Sums of g, g^2, g^3, g^4 and |g|, minimum, maximum.
constexpr int kSums = 7;
// The same and the number of values above zero.
constexpr int kOutputSums = kSums + 1;
// Lanes of the widest vector in any variant, and maximum number of vectors of output channels in a tile.
constexpr int kMostLanes = 16;
constexpr int kMostVectors = 2;
// Maximum number of runs of neighbouring taps in a tile; each needs an address register.
constexpr int kMostRows = 5;
// Longer sums of float32 products would lose digits, so they are continued in float64.
constexpr Index kBlock = 512;

// Output positions, visited row by row. Offsets of delta count positions, offsets of the activation count floats.
struct Rectangle {
    Index delta, activation;
    Index count, width;
    Index activation_step, activation_gap, delta_gap;
};

// Consecutive rectangles with at most kBlock positions in total.
struct Block {
    Index first, last;
};

// Sums over one unit, lane by lane, of entries multiplied by a power of two; and the closed forms, unscaled.
struct Totals {
    double power[5][kMostLanes];
    float lowest[kMostVectors][kMostLanes], highest[kMostVectors][kMostLanes];
    double closed[5], closed_lowest, closed_highest;
};

// The data that the tiles of one unit read.
struct Context {
    const float* delta;       // packed, [positions, stride]
    const float* activation;  // channels are contiguous
    const Rectangle* rectangles;
    Index stride;             // floats per position of the packed delta
    Index lanes;              // number of lanes in use
    float scale;
};

struct Tile;
using TileFunction = void (*)(const Context&, const Tile&, Totals&);

// The taps that one pass over the positions accumulates: `rows` holds the start of each run of columns.
struct Tile {
    TileFunction function;
    const Index* rows;
    Index activation;
    const Block* blocks;
    Index block_count;
    Index channels;  // number of input channels, for the closed forms
};

// A unit of work on one sample: a block of output channels and a range of tiles.
struct Unit {
    Index lane, lanes;         // first and number in the lane tables of delta
    Index source, sources;     // first and number in the channel table of the activation
    Index first_tile, last_tile;
    Index width;               // floats per position of the copied activation
    int vectors;               // vectors per position of the packed delta
    bool writes_bias;          // whether it is the first unit of its output channels
};

enum class Kind { kWide, kNarrow, kChannel };  // 2 or 1 vectors of output channels times scalars; lane by lane

struct Axis {
    Index size, stride;
};

// Spatial axes of two tensors of one shape; axes without a gap between them in both tensors are merged.
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
    Axis axes[4];  // all axes of one sample, the shortest stride last

    bool copies;  // whether the kernel reads a padded, channels-last copy of the activation
    Index before[3], extent[3];  // zeros before the activation, and size of the copy
    bool padded;

    const Rectangle* rectangles;
    const Tile* tiles;
};

// A thread's memory, and the data that it currently holds.
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

// The functions of a translation unit that was compiled for one processor type.
struct Variant {
    const char* name;
    int lanes;
    int most_taps[3];  // by kind
    TileFunction (*tile)(Kind kind, int rows, int columns);  // null: not built
    TileFunction outer;                                      // one position: a closed form
    TileFunction nothing;                                    // no position: zeros
    void (*run)(const Correlation&, Scratch&, Index sample, const Unit&, double* sums, double* bias);
    // With and without the number of positive values.
    void (*reduce_float[2])(const float* values, Index count, double* sums);
    void (*reduce_double[2])(const double* values, Index count, double* sums);
    void (*channel_sums)(const Channels& delta, const Channels& activation, const float* mean, const Index size[3],
                         Index first, Index last, double* products, double* totals);
};

}  // namespace gradmeter

// Plans the work for given tensors and geometry: the taps of each tile, and the positions it runs over.
#pragma once

#include <vector>

#include "correlation.h"
#include "tensor.h"

namespace gradmeter {

struct Geometry {
    Index kernel[3], stride[3], dilation[3], padding[3], groups;
};

class Plan {
public:
    Plan(const Variant& variant, const Tensor& delta, const Tensor& activation, const Geometry& geometry);
    Plan(const Plan&) = delete;

    Correlation correlation;
    std::vector<Unit> units;      // units of one sample
    Index products = 0;           // multiplications per sample
    Index delta_floats = 0;       // size of a thread's packed delta
    Index activation_floats = 0;  // size of a thread's copy of the activation

private:
    struct Region {
        Index first, count, positions;
    };
    struct Range {
        Index first, last;
    };

    void describe_lanes();
    void describe_view();
    Region add_region(const Index from[3], const Index count[3], Index activation);
    Region add_tap(const Index tap[3]);
    Range add_tiles(Kind kind);
    void add_tile(TileFunction function, Index row, Index activation, const Region& region);
    void add_units(Kind kind, Range tiles, Index lane, Index lanes, Index source, Index sources);

    const Variant& variant_;
    const Tensor& delta_;
    const Tensor& activation_;
    const Geometry& geometry_;
    Index outputs_, inputs_;  // channels per group
    bool channelwise_, by_tap_;
    Index width_;             // floats per position of the activation that the kernel reads
    Index view_[3];           // strides of that activation
    std::vector<Index> delta_offset_, bias_channel_, activation_offset_, rows_;
    std::vector<Rectangle> rectangles_;
    std::vector<Block> blocks_;
    std::vector<Tile> tiles_;
    std::vector<Range> tile_links_;  // first row and first block of each tile, until the vectors are complete
};

}  // namespace gradmeter

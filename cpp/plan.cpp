#include "plan.h"

#include <algorithm>

namespace gradmeter {

namespace {

// With fewer input channels than this, one spatial tap does not fill a tile, so tiles combine spatial taps.
constexpr Index kFewChannels = 12;
// Minimum number of multiplications in a unit of work for a thread.
constexpr Index kPiece = Index{4} << 20;

Index pieces(Index total, Index most) { return (total + most - 1) / most; }

}  // namespace

Plan::Plan(const Variant& variant, const Tensor& delta, const Tensor& activation, const Geometry& geometry)
    : correlation{},
      variant_(variant),
      delta_(delta),
      activation_(activation),
      geometry_(geometry),
      outputs_(delta.channels / geometry.groups),
      inputs_(activation.channels / geometry.groups) {
    const bool pointwise = std::all_of(geometry.kernel, geometry.kernel + 3, [](Index k) { return k == 1; });
    channelwise_ = outputs_ == 1 || (inputs_ == 1 && geometry.groups > 1 && outputs_ < variant.lanes);
    by_tap_ = !channelwise_ && (pointwise || inputs_ >= kFewChannels);
    describe_lanes();
    describe_view();

    const Index lanes = variant.lanes;
    if (channelwise_) {
        const Range tiles = add_tiles(Kind::kChannel);
        const Index pairs = std::max(delta.channels, activation.channels);
        for (Index lane = 0; lane < pairs; lane += lanes) {
            const Index used = std::min(lanes, pairs - lane);
            add_units(Kind::kChannel, tiles, lane, used, lane, used);
        }
    } else {
        const Index rest = outputs_ % (2 * lanes);
        const Range wide = outputs_ > lanes ? add_tiles(Kind::kWide) : Range{};
        const Range narrow = rest > 0 && rest <= lanes ? add_tiles(Kind::kNarrow) : Range{};
        for (Index group = 0; group < geometry.groups; ++group) {
            for (Index m = 0; m < outputs_; m += 2 * lanes) {
                const Index used = std::min(2 * lanes, outputs_ - m);
                const bool two = used > lanes;
                add_units(two ? Kind::kWide : Kind::kNarrow, two ? wide : narrow, group * outputs_ + m, used,
                          group * inputs_, inputs_);
            }
        }
    }
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
        tiles_[t].rows = rows_.data() + tile_links_[t].first;
        tiles_[t].blocks = blocks_.data() + tile_links_[t].last;
    }
    correlation.rectangles = rectangles_.data();
    correlation.tiles = tiles_.data();
}

// Offsets of the channels of both tensors. In Kind::kChannel lanes are pairs of an output and an input channel.
void Plan::describe_lanes() {
    Correlation& c = correlation;
    c.delta = delta_.data;
    c.delta_sample = delta_.sample_stride;
    c.activation = activation_.data;
    c.activation_sample = activation_.sample_stride;
    std::copy_n(activation_.stride, 3, c.activation_stride);
    std::copy_n(activation_.size, 3, c.in);
    c.run = joined(delta_, delta_);
    c.positions = delta_.size[0] * delta_.size[1] * delta_.size[2];

    const Index lanes = channelwise_ ? std::max(delta_.channels, activation_.channels) : delta_.channels;
    const Index sources = channelwise_ ? lanes : activation_.channels;
    for (Index lane = 0; lane < lanes; ++lane) {
        const Index output = channelwise_ ? lane / inputs_ : lane;
        delta_offset_.push_back(output * delta_.channel_stride);
        bias_channel_.push_back(channelwise_ && lane % inputs_ != 0 ? -1 : output);
    }
    for (Index source = 0; source < sources; ++source) {
        activation_offset_.push_back((channelwise_ ? source / outputs_ : source) * activation_.channel_stride);
    }
    c.delta_offset = delta_offset_.data();
    c.bias_channel = bias_channel_.data();
    c.activation_offset = activation_offset_.data();
    c.delta_consecutive = delta_.channel_stride == 1 && (!channelwise_ || inputs_ == 1);
    c.activation_consecutive = activation_.channel_stride == 1 && (!channelwise_ || outputs_ == 1);

    // Axes of one sample for the search of the largest magnitude; axes without a gap between them are merged.
    Axis axes[4] = {{activation_.channels, activation_.channel_stride},
                    {activation_.size[0], activation_.stride[0]},
                    {activation_.size[1], activation_.stride[1]},
                    {activation_.size[2], activation_.stride[2]}};
    for (Axis& axis : axes) {
        if (axis.stride == 0 || axis.size == 1) axis = {1, 0};
    }
    const auto span = [](const Axis& axis) { return axis.stride < 0 ? -axis.stride : axis.stride; };
    std::sort(axes, axes + 4, [&](const Axis& x, const Axis& y) { return span(x) > span(y); });
    // Axes of size 1 are last now; the others are merged from the shortest stride upwards.
    Axis joined[4] = {{1, 0}, {1, 0}, {1, 0}, {1, 0}};
    int place = 4;
    for (int i = 3; i >= 0; --i) {
        if (axes[i].size == 1) continue;
        if (place < 4 && axes[i].stride == joined[place].size * joined[place].stride) {
            joined[place].size *= axes[i].size;
        } else {
            joined[--place] = axes[i];
        }
    }
    std::copy_n(joined, 4, c.axes);
}

// The activation as the kernel reads it: in place, or a copy with contiguous channels.
void Plan::describe_view() {
    Correlation& c = correlation;
    width_ = channelwise_ ? variant_.lanes : inputs_;
    c.copies = !by_tap_ || (activation_.channel_stride != 1 && inputs_ > 1);
    for (int i = 0; i < 3; ++i) {
        if (by_tap_) {
            c.extent[i] = activation_.size[i];
            continue;
        }
        const Index reach = (geometry_.kernel[i] - 1) * geometry_.dilation[i] + 1;
        c.extent[i] = (delta_.size[i] - 1) * geometry_.stride[i] + reach;
        c.before[i] = std::min(geometry_.padding[i], c.extent[i]);
        c.padded = c.padded || c.before[i] > 0 || c.extent[i] > c.before[i] + activation_.size[i];
    }
    if (c.copies) {
        view_[2] = width_;
        view_[1] = c.extent[2] * view_[2];
        view_[0] = c.extent[1] * view_[1];
        activation_floats = c.extent[0] * view_[0];
    } else {
        std::copy_n(activation_.stride, 3, view_);
    }
}

// A box of output positions in blocks of at most kBlock; `activation` is the offset that the first position reads.
Plan::Region Plan::add_region(const Index from[3], const Index count[3], Index activation) {
    const Index* out = delta_.size;
    Index step[3];
    for (int i = 0; i < 3; ++i) step[i] = geometry_.stride[i] * view_[i];
    const Index total = count[0] * count[1] * count[2];
    const Index first = static_cast<Index>(blocks_.size());
    if (total == 0) return {first, 0, 0};
    const Index columns = pieces(count[2], kBlock);
    const Index rows = columns > 1 ? count[1] : pieces(count[1], std::max<Index>(1, kBlock / count[2]));
    Index filled = kBlock;
    for (Index z = 0; z < count[0]; ++z) {
        for (Index row = 0; row < rows; ++row) {
            const Index y = count[1] * row / rows, height = count[1] * (row + 1) / rows - y;
            for (Index column = 0; column < columns; ++column) {
                const Index x = count[2] * column / columns, width = count[2] * (column + 1) / columns - x;
                const Index last = static_cast<Index>(rectangles_.size());
                rectangles_.push_back({((from[0] + z) * out[1] + from[1] + y) * out[2] + from[2] + x,
                                       activation + z * step[0] + y * step[1] + x * step[2], height * width, width,
                                       step[2], step[1] - width * step[2], out[2] - width});
                if (filled + height * width > kBlock) {
                    blocks_.push_back({last, last});
                    filled = 0;
                }
                filled += height * width;
                blocks_.back().last = last + 1;
            }
        }
    }
    return {first, static_cast<Index>(blocks_.size()) - first, total};
}

// The output positions at which a spatial tap lies inside the image.
Plan::Region Plan::add_tap(const Index tap[3]) {
    Index from[3], count[3], activation = 0;
    for (int i = 0; i < 3; ++i) {
        const Index stride = geometry_.stride[i];
        const Index shift = tap[i] * geometry_.dilation[i] - geometry_.padding[i];
        from[i] = shift < 0 ? std::min(pieces(-shift, stride), delta_.size[i]) : 0;
        const Index room = activation_.size[i] - shift;  // positions t with t * stride < room read inside
        const Index stop = room > 0 ? std::min(delta_.size[i], pieces(room, stride)) : 0;
        count[i] = std::max<Index>(0, stop - from[i]);
        activation += (from[i] * stride + shift) * view_[i];
    }
    return add_region(from, count, activation);
}

void Plan::add_tile(TileFunction function, Index row, Index activation, const Region& region) {
    tiles_.push_back({function, nullptr, activation, nullptr, region.count, inputs_});
    tile_links_.push_back({row, region.first});
}

Plan::Range Plan::add_tiles(Kind kind) {
    const Index first = static_cast<Index>(tiles_.size());
    const Index most = variant_.most_taps[static_cast<int>(kind)];
    const Index* kernel = geometry_.kernel;
    const Index origin = static_cast<Index>(rows_.size());
    rows_.push_back(0);
    if (by_tap_) {
        Index tap[3];
        for (tap[0] = 0; tap[0] < kernel[0]; ++tap[0]) {
            for (tap[1] = 0; tap[1] < kernel[1]; ++tap[1]) {
                for (tap[2] = 0; tap[2] < kernel[2]; ++tap[2]) {
                    const Region region = add_tap(tap);
                    if (region.positions <= 1) {
                        add_tile(region.positions ? variant_.outer : variant_.nothing, origin, 0, region);
                        continue;
                    }
                    const Index parts = pieces(inputs_, most);
                    for (Index part = 0; part < parts; ++part) {
                        const Index channel = inputs_ * part / parts;
                        const Index columns = inputs_ * (part + 1) / parts - channel;
                        add_tile(variant_.tile(kind, 1, static_cast<int>(columns)), origin, channel, region);
                    }
                }
            }
        }
        return {first, static_cast<Index>(tiles_.size())};
    }
    // Neighbours along the last axis are contiguous in the copy; they are the columns of a tile.
    const bool dense = geometry_.dilation[2] == 1;
    const Index spacing = kind == Kind::kChannel ? width_ : 1;
    const Index columns = (dense ? kernel[2] : 1) * width_ / spacing;
    for (Index z = 0; z < kernel[0]; ++z) {
        for (Index y = 0; y < kernel[1]; ++y) {
            for (Index x = 0; x < (dense ? 1 : kernel[2]); ++x) {
                rows_.push_back(z * geometry_.dilation[0] * view_[0] + y * geometry_.dilation[1] * view_[1] +
                                x * geometry_.dilation[2] * view_[2]);
            }
        }
    }
    const Index zero[3] = {0, 0, 0};
    const Region everywhere = add_region(zero, delta_.size, 0);
    const Index rows = static_cast<Index>(rows_.size()) - origin - 1;
    const Index parts = pieces(columns, most);
    const Index together = parts > 1 ? 1 : std::min({rows, most / columns, Index{kMostRows}});
    const Index bands = pieces(rows, together);
    for (Index band = 0; band < bands; ++band) {
        const Index row = rows * band / bands, height = rows * (band + 1) / bands - row;
        for (Index part = 0; part < parts; ++part) {
            const Index column = columns * part / parts, width = columns * (part + 1) / parts - column;
            add_tile(variant_.tile(kind, static_cast<int>(height), static_cast<int>(width)), origin + 1 + row,
                     column * spacing, everywhere);
        }
    }
    return {first, static_cast<Index>(tiles_.size())};
}

// The number of units of a block of output channels depends on its size only, not on the number of threads.
void Plan::add_units(Kind kind, Range tiles, Index lane, Index lanes, Index source, Index sources) {
    const Index count = tiles.last - tiles.first;
    const Index taps = (channelwise_ ? 1 : inputs_) * geometry_.kernel[0] * geometry_.kernel[1] * geometry_.kernel[2];
    const Index work = taps * correlation.positions * lanes;
    products += work;
    const Index parts = std::clamp<Index>(work / kPiece, 1, count);
    const int vectors = kind == Kind::kWide ? 2 : 1;
    for (Index part = 0; part < parts; ++part) {
        units.push_back({lane, lanes, source, sources, tiles.first + count * part / parts,
                         tiles.first + count * (part + 1) / parts, width_, vectors, part == 0});
    }
    delta_floats = std::max(delta_floats, correlation.positions * vectors * variant_.lanes);
}

}  // namespace gradmeter

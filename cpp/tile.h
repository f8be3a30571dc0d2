// The inner loop: accumulates taps x output channels in registers over all positions, then adds them to power sums.
#pragma once

namespace {

template <int Taps, int Vectors>
ALWAYS_INLINE void fold(const Vector (&entries)[Taps][Vectors], float scale, Totals& totals) {
    Vector power[5] = {};
    Vector lowest[Vectors], highest[Vectors];
    UNROLL for (int v = 0; v < Vectors; ++v) {
        lowest[v] = load(totals.lowest[v]);
        highest[v] = load(totals.highest[v]);
    }
    UNROLL for (int t = 0; t < Taps; ++t) {
        UNROLL for (int v = 0; v < Vectors; ++v) {
            const Vector x = entries[t][v] * scale;
            const Vector square = x * x;
            power[0] += x;
            power[1] += square;
            power[2] += square * x;
            power[3] += square * square;
            power[4] += magnitude(x);
            lowest[v] = smaller(x, lowest[v]);
            highest[v] = larger(x, highest[v]);
        }
    }
    UNROLL for (int v = 0; v < Vectors; ++v) {
        store(totals.lowest[v], lowest[v]);
        store(totals.highest[v], highest[v]);
    }
    UNROLL for (int k = 0; k < 5; ++k) {
        float lanes[kLanes];
        store(lanes, power[k]);
        UNROLL for (int h = 0; h < 2; ++h) {
            double* to = totals.power[k] + h * (kLanes / 2);
            store(to, load_wide(to) + load_widened(lanes + h * (kLanes / 2)));
        }
    }
}

// Taps are Rows runs of Columns neighbours. With Broadcast neighbours are single floats, each multiplied with a vector
// of output channels; otherwise they are vectors of channels, multiplied lane by lane.
template <int Rows, int Columns, int Vectors, bool Broadcast>
ALWAYS_INLINE void accumulate(const Context& context, const Block& block, const float* activation, const Index* rows,
                              Vector (&entries)[Rows * Columns][Vectors]) {
    constexpr Index kStride = kLanes * Vectors;
    for (Index i = block.first; i < block.last; ++i) {
        const Rectangle& area = context.rectangles[i];
        const float* d = context.delta + area.delta * kStride;
        const float* from[Rows];
        UNROLL for (int r = 0; r < Rows; ++r) from[r] = activation + area.activation + rows[r];
        const Index width = area.width, step = area.activation_step;
        const Index d_gap = area.delta_gap * kStride, a_gap = area.activation_gap;
        Index left = width - 1;
        for (Index count = area.count; count; --count) {
            Vector channels[Vectors];
            UNROLL for (int v = 0; v < Vectors; ++v) { channels[v] = load(d + v * kLanes); }
            UNROLL for (int r = 0; r < Rows; ++r) {
                UNROLL for (int c = 0; c < Columns; ++c) {
                    UNROLL for (int v = 0; v < Vectors; ++v) {
                        if constexpr (Broadcast) {
                            entries[r * Columns + c][v] += channels[v] * from[r][c];
                        } else {
                            entries[r * Columns + c][v] += channels[v] * load(from[r] + c * kLanes);
                        }
                    }
                }
            }
            // Step to the next row without a branch, which would be mispredicted for short rows.
            --left;
            const Index end = left >> (8 * sizeof left - 1);  // all bits set after the last position of a row, else 0
            d += kStride + (d_gap & end);
            UNROLL for (int r = 0; r < Rows; ++r) from[r] += step + (a_gap & end);
            left += width & end;
        }
    }
}

template <int Rows, int Columns, int Vectors, bool Broadcast>
void tile(const Context& context, const Tile& tile, Totals& totals) {
    constexpr int kTaps = Rows * Columns;
    const float* activation = context.activation + tile.activation;
    Vector entries[kTaps][Vectors] = {};
    if (tile.block_count == 1) {
        accumulate<Rows, Columns, Vectors, Broadcast>(context, *tile.blocks, activation, tile.rows, entries);
        fold<kTaps, Vectors>(entries, context.scale, totals);
        return;
    }
    double sums[kTaps][Vectors][kLanes] = {};
    for (Index b = 0; b < tile.block_count; ++b) {
        Vector part[kTaps][Vectors] = {};
        accumulate<Rows, Columns, Vectors, Broadcast>(context, tile.blocks[b], activation, tile.rows, part);
        float lanes[kTaps][Vectors][kLanes];
        UNROLL for (int t = 0; t < kTaps; ++t) {
            UNROLL for (int v = 0; v < Vectors; ++v) store(lanes[t][v], part[t][v]);
        }
        for (int i = 0; i < kTaps * Vectors * kLanes; ++i) (&sums[0][0][0])[i] += (&lanes[0][0][0])[i];
    }
    float lanes[kTaps][Vectors][kLanes];
    for (int i = 0; i < kTaps * Vectors * kLanes; ++i) {
        (&lanes[0][0][0])[i] = static_cast<float>((&sums[0][0][0])[i]);
    }
    UNROLL for (int t = 0; t < kTaps; ++t) {
        UNROLL for (int v = 0; v < Vectors; ++v) entries[t][v] = load(lanes[t][v]);
    }
    fold<kTaps, Vectors>(entries, context.scale, totals);
}

// The table of tiles: rows x columns up to the number of accumulators that fit into registers.
constexpr int most_taps(Kind kind) {
    return kManyRegisters ? (kind == Kind::kWide ? 12 : kind == Kind::kNarrow ? 24 : 28) : kind == Kind::kWide ? 6 : 12;
}

template <Kind kKind, int Rows = 1, int Columns = 1>
TileFunction find_tile(int rows, int columns) {
    if constexpr (Rows > kMostRows || Rows > most_taps(kKind)) {
        return nullptr;
    } else if constexpr (Rows * Columns > most_taps(kKind)) {
        return find_tile<kKind, Rows + 1, 1>(rows, columns);
    } else {
        if (rows == Rows && columns == Columns) {
            return tile<Rows, Columns, kKind == Kind::kWide ? 2 : 1, kKind != Kind::kChannel>;
        }
        return find_tile<kKind, Rows, Columns + 1>(rows, columns);
    }
}

TileFunction find_tile_of(Kind kind, int rows, int columns) {
    switch (kind) {
        case Kind::kWide: return find_tile<Kind::kWide>(rows, columns);
        case Kind::kNarrow: return find_tile<Kind::kNarrow>(rows, columns);
        case Kind::kChannel: return find_tile<Kind::kChannel>(rows, columns);
    }
    return nullptr;
}

// One position: the entries are all products of a channel of delta and a channel of the activation, so their power sums
// are products of power sums, and their extremes are products of extremes.
void outer(const Context& context, const Tile& tile, Totals& totals) {
    const Rectangle& area = context.rectangles[tile.blocks->first];
    double d[kSums], a[kSums];
    reduce(context.delta + area.delta * context.stride, context.lanes, d);
    reduce(context.activation + tile.activation + area.activation, tile.channels, a);
    for (int k = 0; k < 5; ++k) totals.closed[k] += d[k] * a[k];
    const double corners[4] = {d[5] * a[5], d[5] * a[6], d[6] * a[5], d[6] * a[6]};
    for (const double product : corners) {
        totals.closed_lowest = smaller(product, totals.closed_lowest);
        totals.closed_highest = larger(product, totals.closed_highest);
    }
}

// No positions: all entries are zero.
void nothing(const Context&, const Tile&, Totals& totals) {
    totals.closed_lowest = smaller(0.0, totals.closed_lowest);
    totals.closed_highest = larger(0.0, totals.closed_highest);
}

}  // namespace

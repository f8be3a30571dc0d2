#include "run.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "threads.h"
#include "variants.h"

namespace gradmeter {

namespace {

// Values of one sample, and channels, that one thread processes at a time.
constexpr Index kValues = Index{1} << 16;
constexpr Index kChannels = 64;

// Work below which starting another thread costs more than it saves.
constexpr Index kProducts = Index{1} << 20;
constexpr Index kElements = Index{1} << 16;

int worthwhile(int threads, Index work, Index least) {
    return static_cast<int>(std::min<Index>(threads, 1 + work / least));
}

// Memory of one thread, kept between calls, because fresh pages would cost more than the work on small layers.
class Arena {
public:
    float* reserve(Index floats) {
        if (floats > size_) {
            data_.reset();
            size_ = 0;
            const std::size_t bytes = sizeof(float) * static_cast<std::size_t>(floats);
            data_.reset(static_cast<float*>(operator new(bytes, kAlignment)));
            size_ = floats;
        }
        return data_.get();
    }

private:
    static constexpr std::align_val_t kAlignment{64};
    struct Free {
        void operator()(float* data) const { operator delete(data, kAlignment); }
    };
    std::unique_ptr<float, Free> data_;
    Index size_ = 0;
};

thread_local Arena delta_arena, activation_arena;

// Merges the parts of each sample in order; `width` is kSums or kOutputSums.
void merge(double* sums, const std::vector<double>& parts, Index samples, Index count, int width) {
    const double* part = parts.data();
    for (double* total = sums; total != sums + samples * width; total += width) {
        std::copy_n(part, width, total);
        part += width;
        for (Index i = 1; i < count; ++i, part += width) {
            for (int k = 0; k < 5; ++k) total[k] += part[k];
            for (int k = kSums; k < width; ++k) total[k] += part[k];
            total[5] = std::min(total[5], part[5]);
            total[6] = std::max(total[6], part[6]);
        }
        // Comparisons ignore NaN, but the sum of magnitudes does not.
        if (std::isnan(total[4])) total[5] = total[6] = total[4];
    }
}

// Copies `count` columns of one row, from column `first` on.
template <class Float>
void gather(const Float* row, const std::vector<Axis>& axes, Index first, Index count, std::vector<Float>& to) {
    to.clear();
    const Axis inner = axes.back();
    while (count > 0) {
        const Float* from = row;
        Index rest = first / inner.size;
        for (std::size_t i = axes.size() - 1; i-- > 0; rest /= axes[i].size) from += rest % axes[i].size * axes[i].stride;
        const Index begin = first % inner.size, end = std::min(inner.size, begin + count);
        for (Index k = begin; k < end; ++k) to.push_back(from[k * inner.stride]);
        first += end - begin;
        count -= end - begin;
    }
}

template <class Float>
void reduce_with(void (*const (&kernels)[2])(const Float*, Index, double*), const Matrix<Float>& values, bool positive,
                 double* sums, int threads) {
    const auto kernel = kernels[positive];
    const int width = positive ? kOutputSums : kSums;
    const bool contiguous = values.axes.empty() || (values.axes.size() == 1 && values.axes[0].stride == 1);
    const Index chunks = (values.columns + kValues - 1) / kValues;
    std::vector<double> parts(static_cast<std::size_t>(values.rows * chunks * width));
    threads = worthwhile(threads, values.rows * values.columns, kElements);
    share(threads, values.rows * chunks, std::max<Index>(1, kValues / values.columns), [&]() -> Work {
        return [&, copy = std::vector<Float>()](Index first, Index last) mutable {
            for (Index i = first; i < last; ++i) {
                const Index start = i % chunks * kValues, size = std::min(kValues, values.columns - start);
                const Float* row = values.data + i / chunks * values.row_stride;
                if (!contiguous) gather(row, values.axes, start, size, copy);
                kernel(contiguous ? row + start : copy.data(), size, parts.data() + i * width);
            }
        };
    });
    merge(sums, parts, values.rows, chunks, width);
}

}  // namespace

void correlate(const Tensor& delta, const Tensor& activation, const Geometry& geometry, double* sums, double* bias,
               int threads) {
    const Variant& kernels = variant();
    const Plan plan(kernels, delta, activation, geometry);
    const auto units = static_cast<Index>(plan.units.size());
    std::vector<double> parts(static_cast<std::size_t>(delta.samples * units * kSums));
    threads = worthwhile(threads, delta.samples * plan.products, kProducts);
    // A thread packs a sample once for all its units, unless there are too few samples for all threads.
    const Index grain = delta.samples >= 4 * threads ? units : 1;
    share(threads, delta.samples * units, grain, [&]() -> Work {
        Scratch scratch{};
        scratch.delta = delta_arena.reserve(plan.delta_floats);
        scratch.activation = activation_arena.reserve(plan.activation_floats);
        scratch.delta_sample = scratch.activation_sample = scratch.largest_sample = -1;
        return [&, scratch](Index first, Index last) mutable {
            for (Index i = first; i < last; ++i) {
                const Index sample = i / units;
                kernels.run(plan.correlation, scratch, sample, plan.units[static_cast<std::size_t>(i % units)],
                            parts.data() + i * kSums, bias ? bias + sample * delta.channels : nullptr);
            }
        };
    });
    merge(sums, parts, delta.samples, units, kSums);
}

void reduce(const Matrix<float>& values, bool positive, double* sums, int threads) {
    reduce_with(variant().reduce_float, values, positive, sums, threads);
}

void reduce(const Matrix<double>& values, bool positive, double* sums, int threads) {
    reduce_with(variant().reduce_double, values, positive, sums, threads);
}

void channel_sums(const Tensor& delta, const Tensor& activation, const float* mean, double* products, double* totals,
                  int threads) {
    const Variant& kernels = variant();
    const Walk walk = joined(delta, activation);
    const Index blocks = (delta.channels + kChannels - 1) / kChannels;
    const Index elements = delta.samples * delta.channels * delta.size[0] * delta.size[1] * delta.size[2];
    share(worthwhile(threads, elements, kElements), delta.samples * blocks, 1, [&]() -> Work {
        return [&](Index first, Index last) {
            for (Index i = first; i < last; ++i) {
                const Index sample = i / blocks, channel = i % blocks * kChannels;
                kernels.channel_sums({delta.data + sample * delta.sample_stride, delta.channel_stride, walk.first},
                                     {activation.data + sample * activation.sample_stride, activation.channel_stride,
                                      walk.second},
                                     mean, walk.size, channel, std::min(channel + kChannels, delta.channels),
                                     products + sample * delta.channels, totals + sample * delta.channels);
            }
        };
    });
}

}  // namespace gradmeter

// The three reductions, distributed among threads. Results do not depend on the number of threads.
#pragma once

#include "plan.h"
#include "tensor.h"

namespace gradmeter {

// Writes the sums of each sample's gradient [M, C / groups, *kernel] to sums [N, 7], and those of delta over positions
// to bias [N, M] unless it is null.
void correlate(const Tensor& delta, const Tensor& activation, const Geometry& geometry, double* sums, double* bias,
               int threads);

// Values [N, P]; the columns run over the axes, the longest stride first, none of which continues the one before.
template <class Float>
struct Matrix {
    const Float* data;
    Index rows, columns, row_stride;
    std::vector<Axis> axes;
};

// The same seven sums of float or double values; with `positive` also the number of values above zero, [N, 8].
void reduce(const Matrix<float>& values, bool positive, double* sums, int threads);
void reduce(const Matrix<double>& values, bool positive, double* sums, int threads);

// Sums of delta * (activation - mean) and of delta over positions, [N, C] each; mean [C] may be null.
void channel_sums(const Tensor& delta, const Tensor& activation, const float* mean, double* products, double* totals,
                  int threads);

}  // namespace gradmeter

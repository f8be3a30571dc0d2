// The three reductions, shared out among threads. Results do not depend on how many there are.
#pragma once

#include "plan.h"
#include "tensor.h"

namespace gradmeter {

// Sums of each sample's gradient [M, C / groups, *kernel] into sums [N, 7]; of delta's positions into bias [N, M],
// unless it is null.
void correlate(const Tensor& delta, const Tensor& activation, const Geometry& geometry, double* sums, double* bias,
               int threads);

// The same seven sums of values [N, P], float or double.
template <class Float>
struct Matrix {
    const Float* data;
    Index rows, columns, row_stride, column_stride;
};
void reduce(const Matrix<float>& values, double* sums, int threads);
void reduce(const Matrix<double>& values, double* sums, int threads);

// Sums over positions of delta * (activation - mean) and of delta, [N, C] each; mean [C] may be null.
void channel_sums(const Tensor& delta, const Tensor& activation, const float* mean, double* products, double* totals,
                  int threads);

}  // namespace gradmeter

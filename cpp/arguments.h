// Checks of the arguments from Python; each error is one line with the given and the expected value.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <vector>

#include "run.h"

namespace gradmeter {

namespace nb = nanobind;

using Array = nb::ndarray<nb::ro>;
using Output = nb::ndarray<>;
using Integers = std::vector<Index>;

// [N, channels, *positions] float32 with 0 to 3 axes of positions; only the first axis may be empty.
Tensor tensor(const Array& array, const char* name);

// The two inputs of a correlation, and its geometry.
void require_fit(const Array& delta, const Array& activation);
Geometry geometry(const Array& delta, const Array& activation, const Integers& kernel, const Integers& stride,
                  const Integers& dilation, const Integers& padding, Index groups);

// Values [N, ...] of any strides, with at least one value per sample.
template <class Float>
Matrix<Float> matrix(const Array& array, const char* name);

// One contiguous float32 per channel of a tensor, or null.
const float* per_channel(const std::optional<Array>& array, const Array& tensor, const char* name);

// Contiguous float64 [rows, columns] to write to.
double* output(const Output& array, const char* name, std::size_t rows, std::size_t columns);

void require_same_shape(const Array& delta, const Array& activation);
void require_threads(int threads);

}  // namespace gradmeter

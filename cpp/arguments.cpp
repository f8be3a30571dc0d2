#include "arguments.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace gradmeter {

namespace {

using Text = std::string;

template <class A>
Text shape_of(const A& array) {
    Text text = "(";
    for (std::size_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
    return text + ")";
}

Text shapes_of(const Array& delta, const Array& activation) {
    return "delta has shape " + shape_of(delta) + " and activation " + shape_of(activation);
}

template <class Float, class A>
void require_type(const A& array, const char* name) {
    if (array.device_type() != nb::device::cpu::value || array.dtype() != nb::dtype<Float>()) {
        const Text expected = "float" + std::to_string(8 * sizeof(Float));
        throw nb::type_error((name + Text(": expected ") + expected + " on the CPU").c_str());
    }
}

// One number per spatial axis; leading axes that the tensors lack get `missing`.
void fill(Index (&to)[3], const Integers& values, const char* name, std::size_t axes, Index least, Index missing) {
    constexpr Index kMost = std::numeric_limits<std::int32_t>::max();
    const auto fits = [=](Index value) { return least <= value && value <= kMost; };
    if (values.size() != axes || !std::all_of(values.begin(), values.end(), fits)) {
        throw std::invalid_argument(name + Text(": expected one whole number of at least ") + std::to_string(least) +
                                    " for each of " + std::to_string(axes) + " spatial axes");
    }
    std::fill_n(to, 3, missing);
    std::copy(values.begin(), values.end(), to + 3 - axes);
}

}  // namespace

Tensor tensor(const Array& array, const char* name) {
    require_type<float>(array, name);
    const std::size_t dims = array.ndim();
    bool empty = false;
    for (std::size_t i = 1; i < dims; ++i) empty = empty || array.shape(i) == 0;
    if (dims < 2 || dims > 5 || empty) {
        throw std::invalid_argument(name + Text(" has shape ") + shape_of(array) +
                                    "; expected [N, channels, *positions] with at most 3 axes of positions and no "
                                    "empty axis but the first");
    }
    Tensor result{static_cast<const float*>(array.data()),
                  static_cast<Index>(array.shape(0)),
                  static_cast<Index>(array.shape(1)),
                  {1, 1, 1},
                  array.stride(0),
                  array.stride(1),
                  {0, 0, 0}};
    for (std::size_t i = 2; i < dims; ++i) {
        result.size[i + 3 - dims] = static_cast<Index>(array.shape(i));
        result.stride[i + 3 - dims] = array.stride(i);
    }
    return result;
}

void require_fit(const Array& delta, const Array& activation) {
    if (delta.ndim() < 3 || activation.ndim() != delta.ndim() || activation.shape(0) != delta.shape(0)) {
        throw std::invalid_argument(shapes_of(delta, activation) +
                                    "; expected the same number of samples and of 1 to 3 spatial axes");
    }
}

Geometry geometry(const Array& delta, const Array& activation, const Integers& kernel, const Integers& stride,
                  const Integers& dilation, const Integers& padding, Index groups) {
    const std::size_t axes = delta.ndim() - 2;
    Geometry result{};
    fill(result.kernel, kernel, "kernel", axes, 1, 1);
    fill(result.stride, stride, "stride", axes, 1, 1);
    fill(result.dilation, dilation, "dilation", axes, 1, 1);
    fill(result.padding, padding, "padding", axes, 0, 0);
    result.groups = groups;
    const auto outputs = static_cast<Index>(delta.shape(1)), inputs = static_cast<Index>(activation.shape(1));
    if (groups < 1 || outputs % groups || inputs % groups) {
        throw std::invalid_argument("groups=" + std::to_string(groups) + "; expected a divisor of " +
                                    std::to_string(outputs) + " and " + std::to_string(inputs) + " channels");
    }
    return result;
}

template <class Float>
Matrix<Float> matrix(const Array& array, const char* name) {
    require_type<Float>(array, name);
    Matrix<Float> result{static_cast<const Float*>(array.data()), 0, 1, 0, {}};
    std::vector<Axis>& axes = result.axes;
    for (std::size_t i = 1; i < array.ndim(); ++i) {
        const auto size = static_cast<Index>(array.shape(i));
        result.columns *= size;
        if (size > 1) axes.push_back({size, array.stride(i)});
    }
    if (array.ndim() < 2 || result.columns == 0) {
        throw std::invalid_argument(name + Text(" has shape ") + shape_of(array) +
                                    "; expected [N, ...] with at least one value per sample");
    }
    result.rows = static_cast<Index>(array.shape(0));
    result.row_stride = array.stride(0);
    // Sums do not depend on the order of the columns, so they are read in memory order.
    std::stable_sort(axes.begin(), axes.end(), [](const Axis& x, const Axis& y) { return x.stride > y.stride; });
    std::size_t last = 0;
    for (std::size_t i = 1; i < axes.size(); ++i) {
        if (axes[last].stride == axes[i].size * axes[i].stride) {
            axes[last] = {axes[last].size * axes[i].size, axes[i].stride};
        } else {
            axes[++last] = axes[i];
        }
    }
    axes.resize(axes.empty() ? 0 : last + 1);
    return result;
}

template Matrix<float> matrix<float>(const Array&, const char*);
template Matrix<double> matrix<double>(const Array&, const char*);

const float* per_channel(const std::optional<Array>& array, const Array& tensor, const char* name) {
    if (!array) return nullptr;
    require_type<float>(*array, name);
    if (array->ndim() != 1 || array->shape(0) != tensor.shape(1) || (array->shape(0) > 1 && array->stride(0) != 1)) {
        throw std::invalid_argument(name + Text(" has shape ") + shape_of(*array) + "; expected (" +
                                    std::to_string(tensor.shape(1)) + ",), contiguous");
    }
    return static_cast<const float*>(array->data());
}

double* output(const Output& array, const char* name, std::size_t rows, std::size_t columns) {
    require_type<double>(array, name);
    const bool fits = array.ndim() == 2 && array.shape(0) == rows && array.shape(1) == columns;
    const auto row = static_cast<Index>(columns);
    if (!fits || (rows && columns > 1 && array.stride(1) != 1) || (rows > 1 && array.stride(0) != row)) {
        throw std::invalid_argument(name + Text(" has shape ") + shape_of(array) + "; expected (" +
                                    std::to_string(rows) + ", " + std::to_string(columns) + "), contiguous");
    }
    return static_cast<double*>(array.data());
}

void require_same_shape(const Array& delta, const Array& activation) {
    if (shape_of(delta) != shape_of(activation)) {
        throw std::invalid_argument(shapes_of(delta, activation) + "; expected the same");
    }
}

void require_threads(int threads) {
    if (threads < 1) throw std::invalid_argument("threads=" + std::to_string(threads) + "; expected at least 1");
}

}  // namespace gradmeter

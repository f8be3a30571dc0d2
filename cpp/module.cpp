// The Python module. The reductions release the global interpreter lock.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arguments.h"
#include "threads.h"
#include "variants.h"

NB_MODULE(_compiled, module) {
    using namespace gradmeter;
    using namespace nb::literals;

    module.def(
        "correlate",
        [](const Array& delta, const Array& activation, const Integers& kernel, const Integers& stride,
           const Integers& dilation, const Integers& padding, Index groups, const Output& sums,
           const std::optional<Output>& bias, int threads) {
            const Tensor d = tensor(delta, "delta"), a = tensor(activation, "activation");
            require_fit(delta, activation);
            const Geometry windows = geometry(delta, activation, kernel, stride, dilation, padding, groups);
            double* to_sums = output(sums, "sums", delta.shape(0), kSums);
            double* to_bias = bias ? output(*bias, "bias", delta.shape(0), delta.shape(1)) : nullptr;
            require_threads(threads);
            const nb::gil_scoped_release unlocked;
            correlate(d, a, windows, to_sums, to_bias, threads);
        },
        "delta"_a, "activation"_a, "kernel"_a, "stride"_a, "dilation"_a, "padding"_a, "groups"_a, "sums"_a,
        "bias"_a.none(), "threads"_a,
        "Power sums, sum of magnitudes and extremes of the per-sample gradients of a convolution's weight.");

    module.def(
        "reduce",
        [](const Array& values, const Output& sums, int threads, bool positive) {
            const int width = positive ? kOutputSums : kSums;
            double* to_sums = output(sums, "sums", values.ndim() ? values.shape(0) : 0, width);
            require_threads(threads);
            if (values.dtype() == nb::dtype<double>()) {
                const Matrix<double> doubles = matrix<double>(values, "values");
                const nb::gil_scoped_release unlocked;
                reduce(doubles, positive, to_sums, threads);
            } else {
                const Matrix<float> floats = matrix<float>(values, "values");
                const nb::gil_scoped_release unlocked;
                reduce(floats, positive, to_sums, threads);
            }
        },
        "values"_a, "sums"_a, "threads"_a, "positive"_a = false,
        "The same seven numbers of values [N, ...] that are held as they are; with positive also how many exceed zero.");

    module.def(
        "channel_sums",
        [](const Array& delta, const Array& activation, const std::optional<Array>& mean, const Output& products,
           const Output& totals, int threads) {
            const Tensor d = tensor(delta, "delta"), a = tensor(activation, "activation");
            require_same_shape(delta, activation);
            const float* centre = per_channel(mean, delta, "mean");
            double* to_products = output(products, "products", delta.shape(0), delta.shape(1));
            double* to_totals = output(totals, "totals", delta.shape(0), delta.shape(1));
            require_threads(threads);
            const nb::gil_scoped_release unlocked;
            channel_sums(d, a, centre, to_products, to_totals, threads);
        },
        "delta"_a, "activation"_a, "mean"_a.none(), "products"_a, "totals"_a, "threads"_a,
        "Sums over positions of delta * (activation - mean) and of delta.");

    module.def("variant", [] { return std::string(variant().name); }, "The kernel in use.");
    module.def(
        "variants",
        [] {
            std::vector<std::string> names;
            for (const Variant* runnable : runnable_variants()) names.emplace_back(runnable->name);
            return names;
        },
        "The kernels that were built and can run here, the best first.");
    module.def("select", select_variant, "name"_a, "Choose a kernel by name.");
    module.def("use_openmp", use_openmp, "parallel"_a, "thread_number"_a,
               "Share the threads of the OpenMP library with these two functions; 0 for none.");
}

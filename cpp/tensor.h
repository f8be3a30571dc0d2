// A tensor for the kernels: [N, channels, depth, height, width], any strides.
#pragma once

#include "correlation.h"

namespace gradmeter {

// Leading spatial axes that the caller's tensor lacks have size 1.
struct Tensor {
    const float* data;
    Index samples, channels, size[3];
    Index sample_stride, channel_stride, stride[3];
};

// Merges spatial axes of two tensors of one shape that have no gap between them in either tensor.
inline Walk joined(const Tensor& first, const Tensor& second) {
    Walk walk;
    int place = 3;
    for (int i = 2; i >= 0; --i) {
        if (first.size[i] == 1) continue;
        if (place < 3 && first.stride[i] == walk.size[place] * walk.first[place] &&
            second.stride[i] == walk.size[place] * walk.second[place]) {
            walk.size[place] *= first.size[i];
            continue;
        }
        --place;
        walk.size[place] = first.size[i];
        walk.first[place] = first.stride[i];
        walk.second[place] = second.stride[i];
    }
    return walk;
}

}  // namespace gradmeter

// A tensor as the kernels see it: [N, channels, depth, height, width], any strides.
#pragma once

#include "correlation.h"

namespace gradmeter {

// Spatial axes that the caller's tensor lacks are in front, of size 1.
struct Tensor {
    const float* data;
    Index samples, channels, size[3];
    Index sample_stride, channel_stride, stride[3];
};

// Joins the spatial axes of two tensors of one shape where both run on without a gap.
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

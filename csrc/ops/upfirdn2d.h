// What the CPU and the CUDA kernels of upfirdn2d offer to its op: raw pointers, no torch.
//
//   y[i, j] = gain sum_kl g[k, l] u[i down_y + k, j down_x + l]
//
// where u[i, j] = x[(i - pad_y) / up_y, (j - pad_x) / up_x] if these are whole numbers and inside
// of x, else 0, and g is the filter, or unless `flip` the filter turned by 180 degrees.
#pragma once

#include "../math/scalar.h"
#include "workspace.h"

namespace ganfast {

// x is (planes, height, width, group) and y (planes, out_height, out_width, group): group is 1, or
// where the channels are side by side, their number.
struct UpfirdnShape {
  int64_t planes, group;  // fewer than 2^31 elements of a plane, in x and in y
  int height, width, out_height, out_width;
  int up_x, up_y, down_x, down_y, pad_x, pad_y;
  int filter_height, filter_width;
  bool flip;
  double gain;

  GANFAST_HD int tap(int ky, int kx) const {  // the place of g[ky, kx] in the filter
    const int place = ky * filter_width + kx;
    return flip ? place : filter_height * filter_width - 1 - place;
  }
};

#define GANFAST_UPFIRDN2D_KERNELS(...)                                                       \
  void upfirdn2d(DType dtype, const UpfirdnShape& shape, const void* x, const float* filter, \
                 void* y __VA_ARGS__);
GANFAST_ON_BOTH(GANFAST_UPFIRDN2D_KERNELS)

}  // namespace ganfast

// What the CPU and the CUDA kernels of augment offer to its op: raw pointers, no torch.
#pragma once

#include "../math/augment.h"
#include "workspace.h"

namespace ganfast {

// x and y are (samples, channels, height, width), or with `interleaved` (samples, height, width,
// channels). u is (samples, draws), see math/augment.h.
struct AugmentShape {
  int64_t samples;
  int channels, height, width;  // fewer than 2^31 elements together
  bool interleaved;
  int draws;

  GANFAST_HD int64_t pixels() const { return int64_t(height) * width; }
  GANFAST_HD int64_t elements() const { return channels * pixels(); }
};

// y = the map of x. Sums are taken in a fixed order: equal input gives equal bits, whatever the
// number of threads.

#define GANFAST_AUGMENT_KERNELS(...)                                                  \
  void augment(AugmentMap map, AugmentPieces pieces, DType dtype, AugmentShape shape, \
               const float* u, const void* x, void* y __VA_ARGS__);
GANFAST_ON_BOTH(GANFAST_AUGMENT_KERNELS)

}  // namespace ganfast

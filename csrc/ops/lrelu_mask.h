// What the CPU and the CUDA kernels of lrelu_mask offer to its ops: raw pointers, no torch.
#pragma once

#include "../math/lrelu_mask.h"
#include "workspace.h"

namespace ganfast {

// Of n elements in the order of memory, whose mask has (n + 3) / 4 bytes: y and mask from x, and
// the slopes times v.
#define GANFAST_LRELU_MASK_KERNELS(...)                                                           \
  void lrelu_mask(DType dtype, double alpha, double gain, double clamp, int64_t n, const void* x, \
                  void* y, uint8_t* mask __VA_ARGS__);                                            \
  void lrelu_masked(DType dtype, double alpha, double gain, int64_t n, const void* v,             \
                    const uint8_t* mask, void* y __VA_ARGS__);

GANFAST_ON_BOTH(GANFAST_LRELU_MASK_KERNELS)

}  // namespace ganfast

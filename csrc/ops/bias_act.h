// What the CPU and the CUDA kernels of bias_act offer to its ops: raw pointers, no torch.
#pragma once

#include "../math/bias_act.h"
#include "workspace.h"

namespace ganfast {

// Elements in the order of memory: (outer, channels, inner), whatever the layout. Without a bias,
// there is one channel.
struct BiasActShape {
  int64_t outer, channels, inner;

  GANFAST_HD int64_t elements() const { return outer * channels * inner; }
};

// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.
#define GANFAST_BIAS_ACT_KERNELS(...)                                                 \
  void bias_act(const BiasActParameters& parameters, DType dtype, BiasActShape shape, \
                const BiasActPass& pass __VA_ARGS__);
GANFAST_ON_BOTH(GANFAST_BIAS_ACT_KERNELS)

}  // namespace ganfast

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

// b and c may be absent, db and d_b not wanted: null. Sums are taken in a fixed order: equal input
// gives equal bits, whatever the number of threads. The double backward writes d_saved where there
// is a grad.
#define GANFAST_BIAS_ACT_KERNELS(...)                                                          \
  void bias_act(const BiasActParameters& parameters, DType dtype, BiasActShape shape,          \
                const void* x, const void* b, void* y __VA_ARGS__);                            \
  void bias_act_backward(const BiasActParameters& parameters, DType dtype, BiasActShape shape, \
                         const void* grad, const void* saved, const void* b, void* dx,         \
                         void* db __VA_ARGS__);                                                \
  void bias_act_double_backward(const BiasActParameters& parameters, DType dtype,              \
                                BiasActShape shape, const void* grad, const void* saved,       \
                                const void* b, const void* v, const void* c, void* d_grad,     \
                                void* d_saved, void* d_b __VA_ARGS__);

namespace cpu {
GANFAST_BIAS_ACT_KERNELS()
}  // namespace cpu

namespace cuda {
GANFAST_BIAS_ACT_KERNELS(, const Workspace& workspace)
}  // namespace cuda

}  // namespace ganfast

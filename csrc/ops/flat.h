// What the CPU and the CUDA kernels of flat offer to its op: raw pointers, no torch.
#pragma once

#include "list.h"

namespace ganfast {

// Terms are flat memory: d_i = x_i - y_i, or x_i - y.
struct FlatList : List {
  bool per_term;  // `loss`, `grad` and `dgrad` have one number for each term instead of one for all
};

// All results are on the list's device, `loss`, `stats`, `grad` and `dgrad` of type Compute<dtype>.
// With u_i = vx_i - vy_i, or vx_i - vy,
//   forward          loss  = sum_k weight_k sum_i f(d_ki)
//   backward         dx_ki = grad weight_k f'(d_ki),
//                    dy_ki = -dx_ki, or the sum of that over i
//   double_backward  dgrad = sum_k weight_k sum_i u_ki f'(d_ki),
//                    dx_ki = grad weight_k u_ki f''(d_ki),   dy_k as in backward
// Unless `stats` is null, which it must be where there is a y or per_term, row k of `stats` (terms,
// 4) becomes weight_k sum_i f(x_ki), the mean of x_ki, and the shares of the x_ki above and below
// `threshold`; on the CPU the bits of `loss` do not depend on it. Sums are taken in a fixed order:
// equal input gives equal bits, whatever the number of threads.

#define GANFAST_FLAT_KERNELS(...)                                                                 \
  void flat_forward(const FlatList& list, void* loss, void* stats, double threshold __VA_ARGS__); \
  void flat_backward(const FlatList& list, const void* grad __VA_ARGS__);                         \
  void flat_double_backward(const FlatList& list, const void* grad, void* dgrad __VA_ARGS__);
GANFAST_ON_BOTH(GANFAST_FLAT_KERNELS)

}  // namespace ganfast

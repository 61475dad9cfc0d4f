// What the CPU and the CUDA kernels of pair_reduce offer to its op: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/pair_reduce.h"

namespace ganfast {

// One pair x_k, y_k of the lists, read as flat memory of one layout. Order 1 and 2 write those of
// `dx` and `dy` that are not null, order 2 reads those of `vx` and `vy`.
struct PairTerm {
  const void* x;   // (n) of the lists' dtype
  const void* y;   // (n)
  const void* vx;  // (n) gradient with respect to the first-order dx
  const void* vy;  // (n) gradient with respect to the first-order dy
  void* dx;        // (n) gradient with respect to x
  void* dy;        // (n) gradient with respect to y
  int64_t n;       // elements, at least 1
  int64_t result;  // place of the pair in `loss`, `grad` and `dgrad`: k per pair, else 0
  double weight;   // w_k / n
  double a, b;     // the functor's parameters
};

// `grad` and the outputs `loss`, `dgrad` are on the device, of type Compute<dtype>: one for each
// pair with `per_pair`, else one for all. With d = x - y, u = vx - vy,
//   forward          loss  = sum_k weight_k sum_i f(d_ki)
//   backward         dx_ki = grad weight_k f'(d_ki),   dy_ki = -dx_ki
//   double_backward  dgrad = sum_k weight_k sum_i u_ki f'(d_ki),
//                    dx_ki = grad weight_k u_ki f''(d_ki),   dy_ki = -dx_ki
// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.

namespace cpu {
void pair_reduce_forward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                         bool per_pair, void* loss);
void pair_reduce_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                          const void* grad);
void pair_reduce_double_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                                 bool per_pair, const void* grad, void* dgrad);
}  // namespace cpu

namespace cuda {
// Doubles of scratch memory that forward and double_backward take.
int64_t pair_reduce_scratch(std::span<const PairTerm> terms, bool per_pair);
void pair_reduce_forward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                         bool per_pair, void* loss, double* scratch, void* stream);
void pair_reduce_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                          const void* grad, void* stream);
void pair_reduce_double_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                                 bool per_pair, const void* grad, void* dgrad, double* scratch,
                                 void* stream);
}  // namespace cuda

}  // namespace ganfast

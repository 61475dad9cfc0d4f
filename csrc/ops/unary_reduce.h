// What the CPU and the CUDA kernels of unary_reduce offer to its op: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/unary_reduce.h"

namespace ganfast {

// One tensor x_k of the list, read as flat memory. Order 1 and 2 want `dx`, order 2 wants `v`.
struct UnaryTerm {
  const void* x;  // (n) of the list's dtype
  const void* v;  // (n) gradient with respect to the first-order dx
  void* dx;       // (n) gradient with respect to x
  int64_t n;      // elements, at least 1
  double weight;  // w_k / n
  double a, b;    // the functor's parameters
};

// `grad` and the outputs `loss`, `dgrad` are device scalars of type Compute<dtype>.
//   forward          loss  = sum_k weight_k sum_i f(x_ki)
//   backward         dx_ki = grad weight_k f'(x_ki)
//   double_backward  dgrad = sum_k weight_k sum_i v_ki f'(x_ki),   dx_ki = grad weight_k v_ki
//   f''(x_ki)
//   forward_stats    loss as forward, with equal bits on the CPU, and in row k of `stats` (terms,
//   4),
//                    of the loss's type, weight_k sum_i f(x_ki), the mean of x_ki, and the shares
//                    of the x_ki above and below the threshold
// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.

namespace cpu {
void unary_reduce_forward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                          void* loss);
void unary_reduce_forward_stats(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                                double threshold, void* loss, void* stats);
void unary_reduce_backward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                           const void* grad);
void unary_reduce_double_backward(UnaryFunctor functor, DType dtype,
                                  std::span<const UnaryTerm> terms, const void* grad, void* dgrad);
}  // namespace cpu

namespace cuda {
// Doubles of scratch memory that forward and double_backward take.
int64_t unary_reduce_scratch(std::span<const UnaryTerm> terms);
void unary_reduce_forward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                          void* loss, double* scratch, void* stream);
int64_t unary_reduce_stats_scratch(std::span<const UnaryTerm> terms);
void unary_reduce_forward_stats(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                                double threshold, void* loss, void* stats, double* scratch,
                                void* stream);
void unary_reduce_backward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                           const void* grad, void* stream);
void unary_reduce_double_backward(UnaryFunctor functor, DType dtype,
                                  std::span<const UnaryTerm> terms, const void* grad, void* dgrad,
                                  double* scratch, void* stream);
}  // namespace cuda

}  // namespace ganfast

// What the CPU and the CUDA kernels of unary_rows offer to its op: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/unary_reduce.h"

namespace ganfast {

// One tensor x_k of the list, a sample after the other. Order 1 and 2 want `dx`, order 2 wants `v`.
// Numbers of samples are of type Compute<dtype>.
struct RowsTerm {
  const void* x;              // (samples, size) of the list's dtype
  const void* v;              // (samples, size) gradient with respect to the first-order dx
  void* dx;                   // (samples, size) gradient with respect to x
  const void* sample_weight;  // (samples), or null for ones
  const void* sample_a;       // (samples) instead of a, or null
  int64_t size;               // elements of a sample, at least 1
  double weight;              // w_k / size
  double a, b;                // the functor's parameters
};

struct RowsList {
  std::span<const RowsTerm> terms;
  int64_t samples;
  bool normalize;  // times samples / sum, with 1 for a sum of 0: each term's sample weights
};

// A gradient (samples) with respect to the result, of type Compute<dtype>; a step of 0 is for one
// number that all samples share.
struct RowsGrad {
  const void* data;
  int64_t step;
};

// With s_kb the sample weights:
//   forward          rows_b = sum_k weight_k s_kb sum_j f(x_kbj)
//   backward         dx_kbj = grad_b weight_k s_kb f'(x_kbj)
//   double_backward  dgrad_b = sum_k weight_k s_kb sum_j v_kbj f'(x_kbj),
//                    dx_kbj = grad_b weight_k s_kb v_kbj f''(x_kbj)
//   forward_stats    rows as forward, and in row k of `stats` (terms, 4), of the rows' type,
//                    sum_b weight_k s_kb sum_j f(x_kbj), the mean of x_k, and the shares of its
//                    elements above and below the threshold
// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.

namespace cpu {
void unary_rows_forward(UnaryFunctor functor, DType dtype, const RowsList& list, void* rows);
void unary_rows_forward_stats(UnaryFunctor functor, DType dtype, const RowsList& list,
                              double threshold, void* rows, void* stats);
void unary_rows_backward(UnaryFunctor functor, DType dtype, const RowsList& list, RowsGrad grad);
void unary_rows_double_backward(UnaryFunctor functor, DType dtype, const RowsList& list,
                                RowsGrad grad, void* dgrad);
}  // namespace cpu

namespace cuda {
// Doubles of scratch memory that each order takes, and what forward_stats takes.
int64_t unary_rows_scratch(const RowsList& list);
void unary_rows_forward(UnaryFunctor functor, DType dtype, const RowsList& list, void* rows,
                        double* scratch, void* stream);
int64_t unary_rows_stats_scratch(const RowsList& list);
void unary_rows_forward_stats(UnaryFunctor functor, DType dtype, const RowsList& list,
                              double threshold, void* rows, void* stats, double* scratch,
                              void* stream);
void unary_rows_backward(UnaryFunctor functor, DType dtype, const RowsList& list, RowsGrad grad,
                         double* scratch, void* stream);
void unary_rows_double_backward(UnaryFunctor functor, DType dtype, const RowsList& list,
                                RowsGrad grad, void* dgrad, double* scratch, void* stream);
}  // namespace cuda

}  // namespace ganfast

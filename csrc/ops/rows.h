// What the CPU and the CUDA kernels of rows offer to its op: raw pointers, no torch.
#pragma once

#include "../math/phi.h"
#include "list.h"

namespace ganfast {

// Terms are (outer, n, inner) in memory; the positions p are outer x inner.
struct RowsList : List {
  bool normalize;  // the s_k are divided by their mean, where a sum of 0 counts as 1
  int64_t outer;   // samples
  int64_t inner;   // pixels of a sample, or 1; more than 1 goes with `square` alone, without y,
                   // sample weights and sample a

  int64_t positions() const { return outer * inner; }
};

// phi and the factor and parameters it comes with. All but identity go with `square` alone.
struct RowsPhi {
  Phi phi;
  double weight, a, b;
};

// What comes back to the result: for identity (positions) numbers that are `step` apart, 0 or 1;
// else one number, with the forward's `derivatives`.
struct RowsGrad {
  const void* grad;
  int64_t step;
  const void* derivatives;  // or null for identity
};

// All results are on the list's device, of type Compute<dtype>. With d = x - y, u = vx - vy,
//   forward          s_p = sum_k weight_k s_kp sum_j f(d_kpj; a_kp, b_k)
//                    identity: `result` = (s_p), else weight mean_p phi(s_p)
//                    derivatives (2, positions) = d result / d s_p and d^2 result / d s_p^2, not
//                    for identity
//   backward         dx_kpj = q_p weight_k s_kp f'(d_kpj), dy = -dx; with q_p = grad_p, or
//                    grad result'_p
//   double_backward  t_p = sum_k weight_k s_kp sum_j u_kpj f'(d_kpj)
//                    identity: dgrad_p = t_p, else dgrad = sum_p result'_p t_p
//                    dx_kpj = weight_k s_kp (q_p u_kpj f''(d_kpj) + grad result''_p t_p f'(d_kpj)),
//                    the last term not for identity; dy = -dx
// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.

#define GANFAST_ROWS_KERNELS(...)                                             \
  void rows_forward(const RowsList& list, const RowsPhi& phi, void* result,   \
                    void* derivatives __VA_ARGS__);                           \
  void rows_backward(const RowsList& list, const RowsGrad& grad __VA_ARGS__); \
  void rows_double_backward(const RowsList& list, const RowsGrad& grad, void* dgrad __VA_ARGS__);
GANFAST_ON_BOTH(GANFAST_ROWS_KERNELS)

}  // namespace ganfast

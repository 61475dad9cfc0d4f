// What the CPU and the CUDA kernels of norm_reduce offer to its op: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/norm_reduce.h"

namespace ganfast {

// Tensors of one call: the inputs of a discriminator are few.
constexpr size_t kMaxNormTerms = 64;

// One tensor g_k of the list. The backward wants `dg`, the double backward `v` too.
struct NormTerm {
  const void* g;  // (outer, size, inner) of the list's dtype
  const void* v;  // the same shape: gradient with respect to the backward's dg
  void* dg;       // the same shape: gradient with respect to g
  int64_t size;   // elements that are summed for each position
};

// Positions, over which phi is averaged: samples have inner = 1, pixels are outer x inner.
struct NormShape {
  int64_t outer, inner;
  bool pixel;

  int64_t positions() const { return outer * inner; }
};

struct NormPhi {
  NormFunctor functor;
  double weight, a, b;
};

// With the position p and s_p = sum_k sum_j g_kpj^2; `loss`, `grad`, `dgrad` are device scalars and
// `derivatives` is (2, positions), all of type Compute<dtype>.
//   forward          loss = weight mean_p phi(s_p)  (maximum: weight max_p s_p, pixel = false)
//                    derivatives = d loss / d s_p and d^2 loss / d s_p^2
//   backward         dg_kpj = 2 grad loss'_p g_kpj
//   double_backward  dgrad = 2 sum_p loss'_p t_p with t_p = sum_k sum_j g_kpj v_kpj,
//                    dg_kpj = 2 grad (loss'_p v_kpj + 2 loss''_p t_p g_kpj)
// Sums are taken in a fixed order: equal input gives equal bits, whatever the number of threads.

namespace cpu {
void norm_reduce_forward(NormPhi phi, DType dtype, NormShape shape, std::span<const NormTerm> terms,
                         void* loss, void* derivatives);
void norm_reduce_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                          const void* grad, const void* derivatives);
void norm_reduce_double_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                                 const void* grad, const void* derivatives, void* dgrad);
}  // namespace cpu

namespace cuda {
// Doubles of scratch memory that forward and double_backward take.
int64_t norm_reduce_scratch(NormShape shape, std::span<const NormTerm> terms);
void norm_reduce_forward(NormPhi phi, DType dtype, NormShape shape, std::span<const NormTerm> terms,
                         void* loss, void* derivatives, double* scratch, void* stream);
void norm_reduce_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                          const void* grad, const void* derivatives, void* stream);
void norm_reduce_double_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                                 const void* grad, const void* derivatives, void* dgrad,
                                 double* scratch, void* stream);
}  // namespace cuda

}  // namespace ganfast

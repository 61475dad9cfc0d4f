// polar: the orthogonal factor of matrices by an iteration of products, without a host sync.
//
// With G = X^T X, a step takes X to X (a I + b G + c G^2): every singular value s of X to
// s (a + b s^2 + c s^4). The minimax coefficients of ganfast/metrics/polar.py take all of them to
// 1, and X to the polar factor of where it started.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>

#include "dispatch.h"
#include "tensor_lists.h"

namespace ganfast {
namespace {

void check(const Tensor& a, Floats coefficients, int64_t single_steps) {
  const int64_t count = coefficients.size();
  GANFAST_CHECK("polar", a.scalar_type() == at::kDouble && a.dim() == 3);
  GANFAST_CHECK("polar", a.sym_size(1) >= a.sym_size(2) && a.sym_size(2) > 0);
  GANFAST_CHECK("polar", count > 0 && count % 3 == 0);
  GANFAST_CHECK("polar", 0 <= single_steps && 3 * single_steps < count);
}

// |x_m|_F of each matrix, (matrices, 1, 1), or 1 for 0, which stays 0
Tensor norms(const Tensor& x) {
  const Tensor norm = at::linalg_vector_norm(x, 2, at::IntArrayRef{1, 2}, true);
  return norm.masked_fill(norm == 0, 1);
}

Tensor gram(const Tensor& x) {
  return at::bmm(x.mT(), x);
}

std::tuple<Tensor, Tensor, Tensor> polar(const Tensor& a_, Floats coefficients,
                                         int64_t single_steps) {
  check(a_, coefficients, single_steps);
  const at::NoTF32Guard no_tf32;
  const Tensor a = a_.contiguous();
  Tensor x = a / norms(a);
  if (single_steps > 0) x = x.to(at::kFloat);
  const int64_t steps = coefficients.size() / 3;
  for (int64_t k = 0; k < steps; ++k) {
    if (k == single_steps) x = x.to(at::kDouble);
    Tensor g = gram(x);
    if (k == 0) {  // |x|_2^2 = |g|_2 <= |g|_F: singular values up to 1
      const Tensor square = norms(g);
      x = x / square.sqrt();
      g = g / square;
    }
    const double* const step = &coefficients[3 * k];
    const Tensor p = at::baddbmm(g, g, g, step[1], step[2]);
    p.diagonal(0, 1, 2).add_(step[0]);
    x = at::bmm(x, p);
  }
  return {x, (x * a).sum({1, 2}), (a - at::bmm(a, gram(x))).square().sum({1, 2})};
}

std::tuple<Tensor, Tensor, Tensor> polar_meta(const Tensor& a, Floats coefficients,
                                              int64_t single_steps) {
  check(a, coefficients, single_steps);
  const auto sums = [&] { return at::empty_symint({a.sym_size(0)}, a.options()); };
  return {at::empty_symint(a.sym_sizes(), a.options()), sums(), sums()};
}

}  // namespace

#define GANFAST_POLAR_OPS(op) op(polar, polar)

GANFAST_ENTER(CPU, GANFAST_POLAR_OPS(GANFAST_KERNEL))
GANFAST_ENTER_CUDA(GANFAST_POLAR_OPS(GANFAST_KERNEL))
TORCH_LIBRARY_IMPL(ganfast, Meta, m) {
  m.impl("polar", polar_meta);
}

// Gradients pass through what is computed with the factor: see ganfast/metrics.
TORCH_LIBRARY_IMPL(ganfast, Autograd, m) {
  m.impl("polar", torch::autograd::autogradNotImplementedFallback());
}

}  // namespace ganfast

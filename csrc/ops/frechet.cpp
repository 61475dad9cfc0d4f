// polar: the orthogonal factor of matrices by an iteration of products, without a host sync.
#include "frechet.h"

#include <ATen/Context.h>
#include <ATen/ops/bmm.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>

#include "dispatch.h"

namespace ganfast {
namespace {

void check(const Tensor& a, Floats coefficients, int64_t single_steps) {
  TORCH_CHECK_TYPE(a.scalar_type() == at::kDouble, "polar: a must have dtype float64, got ",
                   toString(a.scalar_type()));
  TORCH_CHECK_VALUE(a.dim() == 3 && a.sym_size(1) >= a.sym_size(2) && a.sym_size(2) > 0,
                    "polar: a must have shape (matrices, rows, columns) with rows >= columns >= 1, "
                    "got ",
                    a.sym_sizes());
  TORCH_CHECK_VALUE(a.sym_size(1) <= 46340, "polar: a must have at most 46340 rows, got ",
                    a.sym_size(1));
  TORCH_CHECK_VALUE(!coefficients.empty() && coefficients.size() % 3 == 0,
                    "polar: coefficients must be three for each step, got ", coefficients.size());
  TORCH_CHECK_VALUE(0 <= single_steps && 3 * single_steps < int64_t(coefficients.size()),
                    "polar: single_steps must be less than the ", coefficients.size() / 3,
                    " steps, got ", single_steps);
}

// The kernels of the device of `like`, on its current stream.

Tensor pair_sums(PairSum sum, const Tensor& x, const Tensor& y) {
  const int64_t matrices = x.size(0), size = x.size(1) * x.size(2);
  Tensor sums = at::empty({matrices}, x.options().dtype(at::kDouble));
  GANFAST_RUN(x, frechet_pair_sums, sum, dtype_of(x), x.const_data_ptr(), y.const_data_ptr(),
              matrices, size, sums.mutable_data_ptr<double>());
  return sums;
}

// a / |a|_F, in another dtype
Tensor scaled_cast(const Tensor& a, at::ScalarType type) {
  const int64_t matrices = a.size(0), size = a.size(1) * a.size(2);
  const Tensor squares = pair_sums(PairSum::inner, a, a);
  Tensor x = at::empty_like(a, a.options().dtype(type));
  GANFAST_RUN(a, frechet_scaled_cast, dtype_of(x), a.const_data_ptr<double>(),
              squares.const_data_ptr<double>(), x.mutable_data_ptr(), matrices, size);
  return x;
}

// a I + b g + c g^2; on the first step scaled by g's norm
Tensor quintic_of(const Tensor& g, const Quintic& quintic, bool first) {
  Tensor p = at::bmm(g, g);
  const Tensor squares = first ? pair_sums(PairSum::inner, g, g) : Tensor();
  const double* scale = first ? squares.const_data_ptr<double>() : nullptr;
  GANFAST_RUN(g, frechet_quintic, dtype_of(g), quintic, g.const_data_ptr(), scale,
              p.mutable_data_ptr(), g.size(0), g.size(1));
  return p;
}

Tensor gram(const Tensor& x) {
  return at::bmm(x.mT(), x);
}

std::tuple<Tensor, Tensor, Tensor> polar(const Tensor& a_, Floats coefficients,
                                         int64_t single_steps) {
  check(a_, coefficients, single_steps);
#ifdef GANFAST_CUDA
  const c10::cuda::OptionalCUDAGuard guard(a_.is_cuda() ? std::optional(a_.device())
                                                        : std::nullopt);
#endif
  const at::NoTF32Guard no_tf32;
  const Tensor a = a_.contiguous();
  Tensor x = scaled_cast(a, single_steps > 0 ? at::kFloat : at::kDouble);
  const int64_t steps = coefficients.size() / 3;
  for (int64_t k = 0; k < steps; ++k) {
    if (k == single_steps) x = x.to(at::kDouble);
    const Quintic quintic{coefficients[3 * k], coefficients[3 * k + 1], coefficients[3 * k + 2]};
    x = at::bmm(x, quintic_of(gram(x), quintic, k == 0));
  }
  return {x, pair_sums(PairSum::inner, x, a),
          pair_sums(PairSum::squared_distance, a, at::bmm(a, gram(x)))};
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

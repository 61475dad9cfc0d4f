// augment: the affine map of math/augment.h on each sample, and its linear part or the adjoint of
// that. The gradient of the map is the adjoint, and each of the two is the gradient of the other,
// so that there are derivatives of any order.
#include "augment.h"

#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"

namespace ganfast {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check(const Tensor& x, const Tensor& u) {
  TORCH_CHECK_TYPE(is_floating(x),
                   "augment: x must have dtype float64, float32, float16 or bfloat16, got ",
                   toString(x.scalar_type()));
  TORCH_CHECK_VALUE(x.dim() == 4 && x.sym_numel() != 0,
                    "augment: x must have shape (samples, channels, height, width), none of them "
                    "0, got ",
                    x.sym_sizes());
  TORCH_CHECK_VALUE(x.sym_numel() / x.sym_size(0) < (int64_t(1) << 31),
                    "augment: x must have fewer than 2^31 elements in a sample, got ",
                    x.sym_sizes());
  TORCH_CHECK_TYPE(u.scalar_type() == at::kFloat, "augment: u must have dtype float32, got ",
                   toString(u.scalar_type()));
  TORCH_CHECK_VALUE(u.dim() == 2 && u.sym_size(0) == x.sym_size(0) &&
                        (u.sym_size(1) == kAugmentDraws || u.sym_size(1) == kAugmentDraws + 1),
                    "augment: u must have shape (", x.sym_size(0), ", 7) or (", x.sym_size(0),
                    ", 8), got ", u.sym_sizes());
  TORCH_CHECK_VALUE(u.device() == x.device(), "augment: u must be on the device of x, ", x.device(),
                    ", got ", u.device());
}

bool interleaved(const Tensor& x) {
  return !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// x as the kernels read it
Tensor laid_out(const Tensor& x) {
  return interleaved(x) ? x : x.contiguous();
}

Tensor run(AugmentMap map, const Tensor& x_, const Tensor& u_, AugmentPieces pieces) {
  check(x_, u_);
  const Tensor x = laid_out(x_), u = u_.contiguous();
  Tensor y = at::empty_like(x);
  if (x.is_meta()) return y;
  const AugmentShape shape{x.size(0),
                           static_cast<int>(x.size(1)),
                           static_cast<int>(x.size(2)),
                           static_cast<int>(x.size(3)),
                           interleaved(x),
                           static_cast<int>(u.size(1))};
  GANFAST_RUN(x, augment, map, pieces, dtype_of(x), shape, u.const_data_ptr<float>(),
              x.const_data_ptr(), y.mutable_data_ptr());
  return y;
}

Tensor affine(const Tensor& x, const Tensor& u, bool color, bool translation, bool cutout) {
  return run(AugmentMap::affine, x, u, {color, translation, cutout});
}

Tensor linear(const Tensor& x, const Tensor& u, bool color, bool translation, bool cutout,
              bool adjoint) {
  return run(adjoint ? AugmentMap::adjoint : AugmentMap::linear, x, u,
             {color, translation, cutout});
}

// Autograd. A map keeps the draws and no image.

struct Map : torch::autograd::Function<Map> {
  // The affine map, or with `adjoint` the linear part or its adjoint.
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& u, bool color,
                        bool translation, bool cutout, std::optional<bool> adjoint) {
    static const auto call = op<decltype(affine)>("ganfast::augment");
    ctx->save_for_backward({u});
    ctx->saved_data["pieces"] = int64_t(color | translation << 1 | cutout << 2);
    ctx->saved_data["adjoint"] = adjoint.value_or(false);
    at::AutoDispatchBelowADInplaceOrView guard;
    return adjoint ? call_linear(x, u, color, translation, cutout, *adjoint)
                   : call.call(x, u, color, translation, cutout);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list grads(6);
    if (!grad[0].defined()) return grads;
    const int64_t pieces = ctx->saved_data["pieces"].toInt();
    grads[0] = call_linear(grad[0], ctx->get_saved_variables()[0], pieces & 1, pieces & 2,
                           pieces & 4, !ctx->saved_data["adjoint"].toBool());
    return grads;
  }

  static Tensor call_linear(const Tensor& x, const Tensor& u, bool color, bool translation,
                            bool cutout, bool adjoint) {
    static const auto call = op<decltype(linear)>("ganfast::augment_linear");
    return call.call(x, u, color, translation, cutout, adjoint);
  }
};

Tensor affine_autograd(const Tensor& x, const Tensor& u, bool color, bool translation,
                       bool cutout) {
  return Map::apply(x, u, color, translation, cutout, std::optional<bool>());
}

Tensor linear_autograd(const Tensor& x, const Tensor& u, bool color, bool translation, bool cutout,
                       bool adjoint) {
  return Map::apply(x, u, color, translation, cutout, std::optional(adjoint));
}

}  // namespace

#define GANFAST_AUGMENT_OPS(op) op(augment, affine) op(augment_linear, linear)

GANFAST_REGISTER(GANFAST_AUGMENT_OPS)

}  // namespace ganfast

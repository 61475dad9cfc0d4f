// augment: the affine map of math/augment.h on each sample, and its linear part or the adjoint of
// that. The gradient of the map is the adjoint, and each of the two is the gradient of the other,
// so that there are derivatives of any order.
#include "augment.h"

#include "adjoint.h"
#include "dispatch.h"

namespace ganfast {
namespace {

void check(const Tensor& x, const Tensor& u) {
  GANFAST_CHECK("augment", is_floating(x) && x.dim() == 4 && x.sym_numel() != 0);
  GANFAST_CHECK("augment", is_like(u, x, at::kFloat) && u.dim() == 2);
  GANFAST_CHECK("augment", u.sym_size(0) == x.sym_size(0) && (u.sym_size(1) == kAugmentDraws ||
                                                              u.sym_size(1) == kAugmentDraws + 1));
  TORCH_CHECK_VALUE(x.sym_numel() / x.sym_size(0) < (int64_t(1) << 31),
                    "augment: x must have fewer than 2^31 elements in a sample, got ",
                    x.sym_sizes());
}

Tensor run(AugmentMap map, const Tensor& x_, const Tensor& u_, AugmentPieces pieces) {
  check(x_, u_);
  const Tensor x = x_.contiguous(image_format(interleaved(x_))), u = u_.contiguous();
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

Tensor call_linear(const Tensor& x, const Tensor& u, bool color, bool translation, bool cutout,
                   bool adjoint) {
  static const auto call = op<decltype(linear)>("ganfast::augment_linear");
  return call.call(x, u, color, translation, cutout, adjoint);
}

// What takes gradients back through the linear part, or through its adjoint.
WithAdjoint::Adjoint other_way(bool color, bool translation, bool cutout, bool adjoint) {
  return [=](const Tensor& grad, const Tensor& u) {
    return call_linear(grad, u, color, translation, cutout, !adjoint);
  };
}

Tensor affine_autograd(const Tensor& x, const Tensor& u, bool color, bool translation,
                       bool cutout) {
  static const auto call = op<decltype(affine)>("ganfast::augment");
  return with_adjoint(x, u, other_way(color, translation, cutout, false),
                      [&] { return call.call(x, u, color, translation, cutout); });
}

Tensor linear_autograd(const Tensor& x, const Tensor& u, bool color, bool translation, bool cutout,
                       bool adjoint) {
  return with_adjoint(x, u, other_way(color, translation, cutout, adjoint),
                      [&] { return call_linear(x, u, color, translation, cutout, adjoint); });
}

}  // namespace

#define GANFAST_AUGMENT_OPS(op) op(augment, affine) op(augment_linear, linear)

GANFAST_REGISTER(GANFAST_AUGMENT_OPS)

}  // namespace ganfast

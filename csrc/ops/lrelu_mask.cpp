// lrelu_mask: y = clip(gain lrelu(x), -clamp, clamp) and a mask of its slopes, two bits an element,
// all that its derivatives need. They are lrelu_masked, which is its own adjoint.
#include "lrelu_mask.h"

#include <limits>
#include <tuple>

#include "adjoint.h"
#include "dispatch.h"

namespace ganfast {
namespace {

void check(const char* op, const Tensor& x, double alpha, double gain) {
  GANFAST_CHECK(op, is_floating(x) && x.dim() == 4 && alpha >= 0 && gain > 0);
}

// The mask follows the memory of images in one of two layouts.
std::tuple<Tensor, Tensor> forward(const Tensor& x_, double alpha, double gain,
                                   std::optional<double> clamp) {
  check("lrelu_mask", x_, alpha, gain);
  GANFAST_CHECK("lrelu_mask", !clamp || *clamp >= 0);
  const Tensor x = x_.contiguous(image_format(interleaved(x_)));
  Tensor y = at::empty_like(x);
  Tensor mask = at::empty_symint({(x.sym_numel() + 3) / 4}, x.options().dtype(at::kByte));
  if (x.is_meta() || x.numel() == 0) return {y, mask};
  GANFAST_RUN(x, lrelu_mask, dtype_of(x), alpha, gain,
              clamp.value_or(std::numeric_limits<double>::quiet_NaN()), x.numel(),
              x.const_data_ptr(), y.mutable_data_ptr(), mask.mutable_data_ptr<uint8_t>());
  return {y, mask};
}

Tensor masked(const Tensor& v_, const Tensor& mask, bool channels_last, double alpha, double gain) {
  check("lrelu_masked", v_, alpha, gain);
  GANFAST_CHECK("lrelu_masked", is_like(mask, v_, at::kByte) && mask.is_contiguous());
  GANFAST_CHECK("lrelu_masked", mask.dim() == 1 && mask.sym_size(0) == (v_.sym_numel() + 3) / 4);
  const Tensor v = v_.contiguous(image_format(channels_last));
  Tensor y = at::empty_like(v);
  if (v.is_meta() || v.numel() == 0) return y;
  GANFAST_RUN(v, lrelu_masked, dtype_of(v), alpha, gain, v.numel(), v.const_data_ptr(),
              mask.const_data_ptr<uint8_t>(), y.mutable_data_ptr());
  return y;
}

Tensor masked_autograd(const Tensor& v, const Tensor& mask, bool channels_last, double alpha,
                       double gain) {
  static const auto handle = op<decltype(masked)>("ganfast::lrelu_masked");
  const auto call = [=](const Tensor& v, const Tensor& mask) {
    return handle.call(v, mask, channels_last, alpha, gain);
  };
  return with_adjoint(v, mask, call, [&] { return call(v, mask); });
}

std::tuple<Tensor, Tensor> forward_autograd(const Tensor& x, double alpha, double gain,
                                            std::optional<double> clamp) {
  static const auto handle = op<decltype(forward)>("ganfast::lrelu_mask");
  const auto [y, mask] = [&] {
    at::AutoDispatchBelowADInplaceOrView guard;
    return handle.call(x, alpha, gain, clamp);
  }();
  const auto adjoint = [=, last = interleaved(y)](const Tensor& grad, const Tensor& mask) {
    return masked_autograd(grad, mask, last, alpha, gain);
  };
  return {with_adjoint(x, mask, adjoint, [&y = y] { return y; }), mask};
}

}  // namespace

#define GANFAST_LRELU_MASK_OPS(op) op(lrelu_mask, forward) op(lrelu_masked, masked)

GANFAST_REGISTER(GANFAST_LRELU_MASK_OPS)

}  // namespace ganfast

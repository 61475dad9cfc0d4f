// lrelu_mask: y = clip(gain lrelu(x), -clamp, clamp) and a mask of its slopes, two bits an element,
// all that its derivatives need. They are lrelu_masked, which is its own adjoint.
#include "lrelu_mask.h"

#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <tuple>

#include "dispatch.h"

namespace ganfast {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;

void check(const char* op, const Tensor& x, double alpha, double gain) {
  TORCH_CHECK_TYPE(is_floating(x), op,
                   ": x must have dtype float64, float32, float16 or bfloat16, got ",
                   toString(x.scalar_type()));
  TORCH_CHECK_VALUE(x.dim() == 4, op,
                    ": x must have shape (samples, channels, height, width), got ", x.sym_sizes());
  TORCH_CHECK_VALUE(alpha >= 0, op, ": alpha must be >= 0, got ", alpha);
  TORCH_CHECK_VALUE(gain > 0, op, ": gain must be > 0, got ", gain);
}

// The mask follows the memory of images in one of these two layouts.
at::MemoryFormat format_of(bool channels_last) {
  return channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

bool is_channels_last(const Tensor& x) {
  return !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

std::tuple<Tensor, Tensor> forward(const Tensor& x_, double alpha, double gain,
                                   std::optional<double> clamp) {
  check("lrelu_mask", x_, alpha, gain);
  TORCH_CHECK_VALUE(!clamp || *clamp >= 0, "lrelu_mask: clamp must be None or >= 0, got ",
                    clamp.value_or(0));
  const Tensor x = x_.contiguous(format_of(is_channels_last(x_)));
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
  TORCH_CHECK_VALUE(mask.scalar_type() == at::kByte && mask.device() == v_.device() &&
                        mask.dim() == 1 && mask.is_contiguous() &&
                        mask.sym_size(0) == (v_.sym_numel() + 3) / 4,
                    "lrelu_masked: mask must be that of lrelu_mask for images like x");
  const Tensor v = v_.contiguous(format_of(channels_last));
  Tensor y = at::empty_like(v);
  if (v.is_meta() || v.numel() == 0) return y;
  GANFAST_RUN(v, lrelu_masked, dtype_of(v), alpha, gain, v.numel(), v.const_data_ptr(),
              mask.const_data_ptr<uint8_t>(), y.mutable_data_ptr());
  return y;
}

struct Masked : Function<Masked> {
  static Tensor call(const Tensor& v, const Tensor& mask, bool channels_last, double alpha,
                     double gain) {
    static const auto call = op<decltype(masked)>("ganfast::lrelu_masked");
    return call.call(v, mask, channels_last, alpha, gain);
  }

  static Tensor forward(AutogradContext* ctx, const Tensor& v, const Tensor& mask,
                        bool channels_last, double alpha, double gain) {
    at::AutoDispatchBelowADInplaceOrView guard;
    save(ctx, mask, channels_last, alpha, gain);
    return call(v, mask, channels_last, alpha, gain);
  }

  static void save(AutogradContext* ctx, const Tensor& mask, bool channels_last, double alpha,
                   double gain) {
    ctx->save_for_backward({mask});
    ctx->saved_data["channels_last"] = channels_last;
    ctx->saved_data["alpha"] = alpha;
    ctx->saved_data["gain"] = gain;
  }

  static Tensor times_slopes(AutogradContext* ctx, const Tensor& v) {
    return call(v, ctx->get_saved_variables()[0], ctx->saved_data["channels_last"].toBool(),
                ctx->saved_data["alpha"].toDouble(), ctx->saved_data["gain"].toDouble());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list grads(5);
    if (grad[0].defined()) grads[0] = times_slopes(ctx, grad[0]);
    return grads;
  }
};

struct Forward : Function<Forward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, double alpha, double gain,
                               std::optional<double> clamp) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto [y, mask] = call(x, alpha, gain, clamp);
    ctx->mark_non_differentiable({mask});
    Masked::save(ctx, mask, is_channels_last(y), alpha, gain);
    return {y, mask};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list grads(4);
    if (grad[0].defined()) grads[0] = Masked::times_slopes(ctx, grad[0]);
    return grads;
  }

  static std::tuple<Tensor, Tensor> call(const Tensor& x, double alpha, double gain,
                                         std::optional<double> clamp) {
    static const auto call = op<decltype(ganfast::forward)>("ganfast::lrelu_mask");
    return call.call(x, alpha, gain, clamp);
  }
};

std::tuple<Tensor, Tensor> forward_autograd(const Tensor& x, double alpha, double gain,
                                            std::optional<double> clamp) {
  if (at::GradMode::is_enabled() && x.requires_grad()) {
    const variable_list made = Forward::apply(x, alpha, gain, clamp);
    return {made[0], made[1]};
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return Forward::call(x, alpha, gain, clamp);
}

Tensor masked_autograd(const Tensor& v, const Tensor& mask, bool channels_last, double alpha,
                       double gain) {
  if (at::GradMode::is_enabled() && v.requires_grad())
    return Masked::apply(v, mask, channels_last, alpha, gain);
  at::AutoDispatchBelowADInplaceOrView guard;
  return Masked::call(v, mask, channels_last, alpha, gain);
}

}  // namespace

#define GANFAST_LRELU_MASK_OPS(op) op(lrelu_mask, forward) op(lrelu_masked, masked)

GANFAST_REGISTER(GANFAST_LRELU_MASK_OPS)

}  // namespace ganfast

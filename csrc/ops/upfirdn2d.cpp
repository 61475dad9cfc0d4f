// upfirdn2d: upsample, pad or crop, filter, downsample. Its adjoint is one, too, with up and down
// exchanged and the filter turned round, so that there are derivatives of any order.
#include "upfirdn2d.h"

#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"

namespace ganfast {
namespace {

using torch::autograd::AutogradContext;
using Ints = at::IntArrayRef;

constexpr int64_t kLimit = int64_t(1) << 31;

int64_t length(const Tensor& x, int64_t dim) {
  return x.sym_size(dim).guard_int(__FILE__, __LINE__);
}

bool interleaved(const Tensor& x) {
  return !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// Sizes of the result for `n` places along a dimension.
int64_t out_size(int64_t n, int64_t taps, int64_t up, int64_t down, int64_t before, int64_t after) {
  const int64_t places = n * up + before + after - taps;
  return places < 0 ? 0 : places / down + 1;
}

UpfirdnShape checked(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding, bool flip,
                     double gain) {
  TORCH_CHECK_TYPE(is_floating(x),
                   "upfirdn2d: x must have dtype float64, float32, float16 or bfloat16, got ",
                   toString(x.scalar_type()));
  TORCH_CHECK_VALUE(x.dim() == 4,
                    "upfirdn2d: x must have shape (samples, channels, height, width), got ",
                    x.sym_sizes());
  TORCH_CHECK_TYPE(f.scalar_type() == at::kFloat, "upfirdn2d: f must have dtype float32, got ",
                   toString(f.scalar_type()));
  TORCH_CHECK_VALUE(f.dim() == 2 && f.sym_numel() > 0,
                    "upfirdn2d: f must have shape (taps,) or (height, width), none of them 0, got ",
                    f.sym_sizes());
  TORCH_CHECK_VALUE(f.device() == x.device(), "upfirdn2d: f must be on the device of x, ",
                    x.device(), ", got ", f.device());
  const auto factors = [](const char* name, Ints pair) {
    TORCH_CHECK_VALUE(pair.size() == 2 && pair[0] > 0 && pair[1] > 0, "upfirdn2d: ", name,
                      " must be two numbers >= 1, got ", pair);
  };
  factors("up", up);
  factors("down", down);
  TORCH_CHECK_VALUE(padding.size() == 4,
                    "upfirdn2d: padding must be four numbers (left, right, top, bottom), got ",
                    padding);
  const int64_t height = length(x, 2), width = length(x, 3), rows = length(f, 0),
                columns = length(f, 1);
  const int64_t out_height = out_size(height, rows, up[1], down[1], padding[2], padding[3]);
  const int64_t out_width = out_size(width, columns, up[0], down[0], padding[0], padding[1]);
  TORCH_CHECK_VALUE(out_height > 0 && out_width > 0,
                    "upfirdn2d: x must be at least as large as f after padding, got ",
                    height * up[1] + padding[2] + padding[3], " x ",
                    width * up[0] + padding[0] + padding[1], " for a filter of ", rows, " x ",
                    columns);
  const bool last = interleaved(x);
  const int64_t channels = length(x, 1), group = last ? channels : 1;
  const auto fits = [](int64_t n) { return -kLimit < n && n < kLimit; };
  TORCH_CHECK_VALUE(
      fits(height * width * group * up[0]) && fits(height * up[1] * width * group) &&
          fits(out_height * out_width * group * down[0]) && fits(rows * columns) &&
          fits(out_height * down[1] * out_width * group) && fits(padding[0]) && fits(padding[2]),
      "upfirdn2d: x must have fewer than 2^31 elements in an image, got ", x.sym_sizes());
  const auto narrow = [](int64_t n) { return static_cast<int>(n); };
  return {length(x, 0) * (last ? 1 : channels),
          group,
          narrow(height),
          narrow(width),
          narrow(out_height),
          narrow(out_width),
          narrow(up[0]),
          narrow(up[1]),
          narrow(down[0]),
          narrow(down[1]),
          narrow(padding[0]),
          narrow(padding[2]),
          narrow(rows),
          narrow(columns),
          flip,
          gain};
}

Tensor resample(const Tensor& x_, const Tensor& f_, Ints up, Ints down, Ints padding, bool flip,
                double gain) {
  const Tensor x = interleaved(x_) ? x_ : x_.contiguous(), f = f_.contiguous();
  const UpfirdnShape shape = checked(x, f, up, down, padding, flip, gain);
  Tensor y = at::empty_symint(
      {x.sym_size(0), x.sym_size(1), shape.out_height, shape.out_width}, x.options(),
      interleaved(x) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  if (x.is_meta() || y.numel() == 0) return y;
  if (x.numel() == 0) return y.zero_();
  GANFAST_RUN(x, upfirdn2d, dtype_of(x), shape, x.const_data_ptr(), f.const_data_ptr<float>(),
              y.mutable_data_ptr());
  return y;
}

struct Resample : torch::autograd::Function<Resample> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& f, Ints up, Ints down,
                        Ints padding, bool flip, double gain) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor y = call(x, f, up, down, padding, flip, gain);
    const auto adjoint = [&](int dim, int axis) {  // the padding before and after
      const int64_t taps = length(f, dim - 2), before = padding[2 * axis];
      return std::pair(taps - before - 1, length(x, dim) * up[axis] - length(y, dim) * down[axis] +
                                              before - up[axis] + 1);
    };
    const auto [left, right] = adjoint(3, 0);
    const auto [top, bottom] = adjoint(2, 1);
    ctx->save_for_backward({f});
    ctx->saved_data["up"] = up;
    ctx->saved_data["down"] = down;
    ctx->saved_data["padding"] = std::vector<int64_t>{left, right, top, bottom};
    ctx->saved_data["flip"] = flip;
    ctx->saved_data["gain"] = gain;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list grads(7);
    if (!grad[0].defined()) return grads;
    const auto ints = [&](const char* name) { return ctx->saved_data[name].toIntVector(); };
    grads[0] =
        call(grad[0], ctx->get_saved_variables()[0], ints("down"), ints("up"), ints("padding"),
             !ctx->saved_data["flip"].toBool(), ctx->saved_data["gain"].toDouble());
    return grads;
  }

  static Tensor call(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding, bool flip,
                     double gain) {
    static const auto call = op<decltype(resample)>("ganfast::upfirdn2d");
    return call.call(x, f, up, down, padding, flip, gain);
  }
};

Tensor resample_autograd(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding,
                         bool flip, double gain) {
  const bool graph = at::GradMode::is_enabled();
  TORCH_CHECK_NOT_IMPLEMENTED(!graph || !f.requires_grad(),
                              "upfirdn2d: a gradient of f is not implemented; use "
                              "ganfast.reference.upfirdn2d, or f.detach().");
  if (graph && x.requires_grad()) return Resample::apply(x, f, up, down, padding, flip, gain);
  at::AutoDispatchBelowADInplaceOrView guard;
  return Resample::call(x, f, up, down, padding, flip, gain);
}

}  // namespace

#define GANFAST_UPFIRDN2D_OPS(op) op(upfirdn2d, resample)

GANFAST_REGISTER(GANFAST_UPFIRDN2D_OPS)

}  // namespace ganfast

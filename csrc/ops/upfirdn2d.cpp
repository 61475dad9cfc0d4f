// upfirdn2d: upsample, pad or crop, filter, downsample. Its adjoint is one, too, with up and down
// exchanged and the filter turned round, so that there are derivatives of any order.
#include "upfirdn2d.h"

#include "adjoint.h"
#include "dispatch.h"

namespace ganfast {
namespace {

using Ints = at::IntArrayRef;

constexpr int64_t kLimit = int64_t(1) << 31;

int64_t length(const Tensor& x, int64_t dim) {
  return x.sym_size(dim).guard_int(__FILE__, __LINE__);
}

// Sizes of the result for `n` places along a dimension.
int64_t out_size(int64_t n, int64_t taps, int64_t up, int64_t down, int64_t before, int64_t after) {
  const int64_t places = n * up + before + after - taps;
  return places < 0 ? 0 : places / down + 1;
}

UpfirdnShape checked(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding, bool flip,
                     double gain) {
  GANFAST_CHECK("upfirdn2d", is_floating(x) && x.dim() == 4);
  GANFAST_CHECK("upfirdn2d", is_like(f, x, at::kFloat) && f.dim() == 2 && f.sym_numel() > 0);
  GANFAST_CHECK("upfirdn2d", up.size() == 2 && up[0] > 0 && up[1] > 0);
  GANFAST_CHECK("upfirdn2d", down.size() == 2 && down[0] > 0 && down[1] > 0);
  GANFAST_CHECK("upfirdn2d", padding.size() == 4);
  const int64_t height = length(x, 2), width = length(x, 3), rows = length(f, 0),
                columns = length(f, 1);
  const int64_t out_height = out_size(height, rows, up[1], down[1], padding[2], padding[3]);
  const int64_t out_width = out_size(width, columns, up[0], down[0], padding[0], padding[1]);
  GANFAST_CHECK("upfirdn2d", out_height > 0 && out_width > 0);
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
  const Tensor x = x_.contiguous(image_format(interleaved(x_))), f = f_.contiguous();
  const UpfirdnShape shape = checked(x, f, up, down, padding, flip, gain);
  Tensor y = at::empty_symint({x.sym_size(0), x.sym_size(1), shape.out_height, shape.out_width},
                              x.options(), image_format(interleaved(x)));
  if (x.is_meta() || y.numel() == 0) return y;
  if (x.numel() == 0) return y.zero_();
  GANFAST_RUN(x, upfirdn2d, dtype_of(x), shape, x.const_data_ptr(), f.const_data_ptr<float>(),
              y.mutable_data_ptr());
  return y;
}

Tensor call(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding, bool flip,
            double gain) {
  static const auto call = op<decltype(resample)>("ganfast::upfirdn2d");
  return call.call(x, f, up, down, padding, flip, gain);
}

Tensor resample_autograd(const Tensor& x, const Tensor& f, Ints up, Ints down, Ints padding,
                         bool flip, double gain) {
  TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled() || !f.requires_grad(),
                              "upfirdn2d: a gradient of f is not implemented; use "
                              "ganfast.reference.upfirdn2d, or f.detach().");
  const auto adjoint = [size = x.sym_sizes().vec(), up = up.vec(), down = down.vec(),
                        padding = padding.vec(), flip, gain](const Tensor& grad, const Tensor& f) {
    std::vector<int64_t> around;  // left, right, top, bottom
    for (const int axis : {0, 1}) {
      const int64_t taps = length(f, 1 - axis), before = padding[2 * axis];
      const int64_t of_x = size[3 - axis].guard_int(__FILE__, __LINE__);
      const int64_t covered = length(grad, 3 - axis) * down[axis];
      around.push_back(taps - before - 1);
      around.push_back(of_x * up[axis] - covered + before - up[axis] + 1);
    }
    return call(grad, f, down, up, around, !flip, gain);
  };
  return with_adjoint(x, f, adjoint, [&] { return call(x, f, up, down, padding, flip, gain); });
}

}  // namespace

#define GANFAST_UPFIRDN2D_OPS(op) op(upfirdn2d, resample)

GANFAST_REGISTER(GANFAST_UPFIRDN2D_OPS)

}  // namespace ganfast

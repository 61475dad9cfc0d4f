// convolution_: a rectified convolution into given memory, without derivatives.
#include "convolution.h"

#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>

#include "dispatch.h"

namespace ganfast {
namespace {

using at::Tensor;
using Ints = at::IntArrayRef;

// Strides of dimensions of one element say nothing.
Image image_of(const char* name, const Tensor& x) {
  TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat, "convolution_: ", name,
                   " must have dtype float32, got ", toString(x.scalar_type()));
  TORCH_CHECK_VALUE(x.dim() == 4 && x.numel() > 0, "convolution_: ", name,
                    " must have shape (N, C, H, W) and some elements, got ", x.sizes());
  Image image{x.size(0), x.size(2), x.size(3), x.size(1), x.size(1)};
  if (image.width > 1) {
    image.pixel = x.stride(3);
  } else if (image.height > 1) {
    image.pixel = x.stride(2);
  } else if (image.images > 1) {
    image.pixel = x.stride(0);
  }
  const int64_t row = image.width * image.pixel;
  TORCH_CHECK_VALUE((image.channels == 1 || x.stride(1) == 1) && image.pixel >= image.channels &&
                        (image.height == 1 || x.stride(2) == row) &&
                        (image.images == 1 || x.stride(0) == image.height * row),
                    "convolution_: ", name,
                    " must have its channels side by side (channels_last, or a slice of its "
                    "channels), got strides ",
                    x.strides());
  return image;
}

void check_weights(const char* name, const Tensor& w, Ints shape) {
  TORCH_CHECK_TYPE(w.scalar_type() == at::kFloat && w.is_contiguous(), "convolution_: ", name,
                   " must be contiguous float32");
  TORCH_CHECK_VALUE(w.sizes() == shape, "convolution_: ", name, " must have shape ", shape,
                    ", got ", w.sizes());
}

void convolution_(const Tensor& out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const Tensor& lower, Ints kernel, int64_t stride, Ints padding, Ints tile) {
  TORCH_CHECK(cpu::convolution_serves(), "convolution_: this CPU has no AVX2 and FMA");
  const Image of_x = image_of("x", x), of_y = image_of("out", out);
  TORCH_CHECK_VALUE(
      kernel.size() == 2 && padding.size() == 2 && stride > 0 && kernel[0] > 0 && kernel[1] > 0,
      "convolution_: kernel and padding must be two numbers, got ", kernel, " and ", padding);
  const Window window{kernel[0], kernel[1], stride, padding[0], padding[1]};
  const auto size = [&](int64_t n, int64_t k, int64_t pad) {
    return (n + 2 * pad - k) / stride + 1;
  };
  TORCH_CHECK_VALUE(of_y.images == of_x.images &&
                        of_y.height == size(of_x.height, window.height, window.pad_y) &&
                        of_y.width == size(of_x.width, window.width, window.pad_x),
                    "convolution_: out does not fit x, got ", out.sizes(), " and ", x.sizes());
  const int64_t panels = (of_y.channels + kPanel - 1) / kPanel;
  TORCH_CHECK_VALUE(tile.empty() || tile.size() == 2,
                    "convolution_: tile must be two numbers or none, got ", tile);
  const int64_t numbers = tile.empty() ? 0 : cpu::winograd_numbers(window, tile[0], tile[1]);
  TORCH_CHECK_VALUE(tile.empty() || (numbers > 0 && of_x.channels % 8 == 0),
                    "convolution_: tiles of ", tile, " are not implemented for windows of ", kernel,
                    ", stride ", stride, " and ", of_x.channels, " channels");
  check_weights("bias", bias, {panels * kPanel});
  check_weights("lower", lower, {panels * kPanel});
  const float *from = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>(),
              *b = bias.const_data_ptr<float>(), *l = lower.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  if (tile.empty()) {
    check_weights("weight", weight, {panels, window.height * window.width, of_x.channels, kPanel});
    cpu::convolution(of_x, from, of_y, to, window, w, b, l);
  } else {
    check_weights("weight", weight, {numbers, panels, of_x.channels, kPanel});
    cpu::convolution_winograd(of_x, from, of_y, to, window, tile[0], tile[1], w, b, l);
  }
}

// For tracing: nothing is returned, and memory without contents is not written.
void convolution_meta(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                      Ints, int64_t, Ints, Ints) {}

}  // namespace

TORCH_LIBRARY_IMPL(ganfast, Meta, m) {
  m.impl("convolution_", convolution_meta);
}

TORCH_LIBRARY_IMPL(ganfast, CPU, m) {
  m.impl("convolution_", convolution_);
}

TORCH_LIBRARY_IMPL(ganfast, Autograd, m) {
  m.impl("convolution_", torch::autograd::autogradNotImplementedFallback());
}

}  // namespace ganfast

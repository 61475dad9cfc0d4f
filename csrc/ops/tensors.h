// Tensors as the kernels read them, and the check that they fit.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include "../math/scalar.h"

// What does not fit is refused in one sentence, which keeps the kernels within their memory;
// ganfast/ops.py then says which argument it is, and what is expected of it.
#define GANFAST_CHECK(op, ...)                                         \
  TORCH_CHECK_VALUE((__VA_ARGS__), op,                                 \
                    ": the arguments must fit together (" #__VA_ARGS__ \
                    "); ganfast.ops says what does not")

namespace ganfast {

using at::Tensor;
using at::TensorList;
using Floats = c10::ArrayRef<double>;
using Places = c10::ArrayRef<int64_t>;
using OfSamples = c10::List<std::optional<Tensor>>;
using variable_list = std::vector<Tensor>;

inline DType dtype_of(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kDouble:
      return DType::float64;
    case at::kFloat:
      return DType::float32;
    case at::kHalf:
      return DType::float16;
    default:
      return DType::bfloat16;
  }
}

inline bool is_floating(const Tensor& x) {
  const auto type = x.scalar_type();
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

// The dtype in which a loss over x is returned: float64 for float64, else float32.
inline at::ScalarType loss_dtype(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

inline bool is_like(const Tensor& x, const Tensor& like, at::ScalarType type) {
  return x.scalar_type() == type && x.device() == like.device();
}

inline bool are_alike(const Tensor& x, const Tensor& y) {
  return is_like(x, y, y.scalar_type()) && x.sym_sizes() == y.sym_sizes();
}

// x itself where its elements fill a block of memory without gaps, in whatever order; else a copy
// that does.
inline Tensor dense(const Tensor& x) {
  return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

// Are the channels of images side by side?
inline bool interleaved(const Tensor& x) {
  return !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

inline at::MemoryFormat image_format(bool interleaved) {
  return interleaved ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

// x itself where each sample fills a block of memory and the blocks follow each other; else a
// contiguous copy.
inline Tensor dense_samples(const Tensor& x) {
  if (!x.is_non_overlapping_and_dense()) return x.contiguous();
  const c10::SymInt samples = x.sym_size(0);
  return samples == 1 || x.sym_stride(0) == x.sym_numel() / samples ? x : x.contiguous();
}

// `x` with its elements in the memory order of `like`, a tensor of its shape
inline Tensor dense_like(const Tensor& x, const Tensor& like) {
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (x.sym_size(d) != 1 && x.sym_stride(d) != like.sym_stride(d))
      return at::empty_like(like).copy_(x);
  }
  return x;
}

}  // namespace ganfast

// Checks and launch plumbing that the families' ops share.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include "../math/scalar.h"

#ifdef GANFAST_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace ganfast {

inline DType dtype_of(const at::Tensor& x) {
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

// The dtype in which a loss over x is returned: float64 for float64, else float32.
inline at::ScalarType loss_dtype(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// A list that one kernel can take: floating point, not empty, all of one dtype on one device.
inline void check_list(const char* op, const char* name, at::TensorList list) {
  TORCH_CHECK_VALUE(!list.empty(), op, ": ", name,
                    " must hold at least one tensor, got an empty list");
  for (size_t k = 0; k < list.size(); ++k) {
    const at::Tensor& x = list[k];
    const auto type = x.scalar_type();
    TORCH_CHECK_TYPE(
        type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16, op,
        ": ", name, "[", k, "] must have dtype float64, float32, float16 or bfloat16, got ",
        toString(type));
    TORCH_CHECK_TYPE(type == list[0].scalar_type(), op, ": ", name, "[", k,
                     "] must have the dtype of ", name, "[0], ", toString(list[0].scalar_type()),
                     ", got ", toString(type));
    TORCH_CHECK_VALUE(x.device() == list[0].device(), op, ": ", name, "[", k,
                      "] must have the device of ", name, "[0], ", list[0].device(), ", got ",
                      x.device());
    TORCH_CHECK_VALUE(x.sym_numel() != 0, op, ": ", name, "[", k,
                      "] must hold at least one element, got shape ", x.sym_sizes());
  }
}

// x itself where its elements fill a block of memory without gaps, in whatever order; else a copy
// that does.
inline at::Tensor dense(const at::Tensor& x) {
  return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

// x itself where each sample fills a block of memory and the blocks follow each other; else a
// contiguous copy.
inline at::Tensor dense_samples(const at::Tensor& x) {
  if (!x.is_non_overlapping_and_dense()) return x.contiguous();
  const c10::SymInt samples = x.sym_size(0);
  return samples == 1 || x.sym_stride(0) == x.sym_numel() / samples ? x : x.contiguous();
}

// Do the elements of two tensors of one shape lie in the same order?
inline bool same_layout(const at::Tensor& x, const at::Tensor& like) {
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (x.size(d) > 1 && x.stride(d) != like.stride(d)) return false;
  }
  return true;
}

// `x` with its elements in the memory order of `like`
inline at::Tensor dense_like(const at::Tensor& x, const at::Tensor& like) {
  return same_layout(x, like) ? x : at::empty_like(like).copy_(x);
}

}  // namespace ganfast

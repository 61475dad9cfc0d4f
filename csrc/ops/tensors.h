// Tensors as the kernels read them, and what a list of them must be.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include "../math/scalar.h"

namespace ganfast {

using at::Tensor;
using at::TensorList;
using Floats = c10::ArrayRef<double>;
using Places = c10::ArrayRef<int64_t>;

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

// The dtype in which a loss over x is returned: float64 for float64, else float32.
inline at::ScalarType loss_dtype(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

inline void check_floating(const char* name, size_t k, const Tensor& x) {
  const auto type = x.scalar_type();
  TORCH_CHECK_TYPE(
      type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16, name,
      "[", k, "] must have dtype float64, float32, float16 or bfloat16, got ", toString(type));
}

// A tensor that goes with another one.
inline void check_like(const char* name, size_t k, const Tensor& x, const Tensor& like,
                       at::ScalarType type) {
  TORCH_CHECK_TYPE(x.scalar_type() == type, name, "[", k, "] must have dtype ", toString(type),
                   ", got ", toString(x.scalar_type()));
  TORCH_CHECK_VALUE(x.device() == like.device(), name, "[", k, "] must be on ", like.device(),
                    ", got ", x.device());
}

// A list that one kernel can take: floating point, not empty, all of one dtype on one device.
inline void check_list(const char* name, TensorList list) {
  TORCH_CHECK_VALUE(!list.empty(), name, " must hold at least one tensor, got an empty list");
  for (size_t k = 0; k < list.size(); ++k) {
    check_floating(name, k, list[k]);
    check_like(name, k, list[k], list[0], list[0].scalar_type());
    TORCH_CHECK_VALUE(list[k].sym_numel() != 0, name, "[", k,
                      "] must hold at least one element, got shape ", list[k].sym_sizes());
  }
}

inline void check_parameters(size_t terms, Floats weight, Floats a, Floats b) {
  TORCH_CHECK_VALUE(weight.size() == terms && a.size() == terms && b.size() == terms,
                    "weight, a and b must have one number for each of the ", terms,
                    " tensors, got ", weight.size(), ", ", a.size(), " and ", b.size());
}

inline void check_same_shape(const char* name, size_t k, const Tensor& x, const Tensor& like) {
  TORCH_CHECK_VALUE(x.sym_sizes() == like.sym_sizes(), name, "[", k, "] must have shape ",
                    like.sym_sizes(), ", got ", x.sym_sizes());
}

// Places among `count` inputs.
inline void check_places(const char* name, Places places, size_t count) {
  for (const int64_t place : places) {
    TORCH_CHECK_VALUE(0 <= place && place < int64_t(count), name, " must be places among the ",
                      count, " tensors, got ", places);
  }
}

// x itself where its elements fill a block of memory without gaps, in whatever order; else a copy
// that does.
inline Tensor dense(const Tensor& x) {
  return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

// x itself where each sample fills a block of memory and the blocks follow each other; else a
// contiguous copy.
inline Tensor dense_samples(const Tensor& x) {
  if (!x.is_non_overlapping_and_dense()) return x.contiguous();
  const c10::SymInt samples = x.sym_size(0);
  return samples == 1 || x.sym_stride(0) == x.sym_numel() / samples ? x : x.contiguous();
}

// Do the elements of two tensors of one shape lie in the same order?
inline bool same_layout(const Tensor& x, const Tensor& like) {
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (x.size(d) > 1 && x.stride(d) != like.stride(d)) return false;
  }
  return true;
}

// `x` with its elements in the memory order of `like`
inline Tensor dense_like(const Tensor& x, const Tensor& like) {
  return same_layout(x, like) ? x : at::empty_like(like).copy_(x);
}

}  // namespace ganfast

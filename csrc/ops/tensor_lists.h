// Lists of tensors laid out for the kernels of flat and rows, and what such lists must be.
//
// What does not fit is refused here in one sentence, which keeps the kernels within their memory;
// ganfast/_checks.py says which argument it is.
#pragma once

#include <string_view>

#include "list.h"
#include "tensors.h"

#define GANFAST_CHECK(op, condition)                                 \
  TORCH_CHECK_VALUE(condition, op,                                   \
                    ": the arguments must fit together (" #condition \
                    ");"                                             \
                    " ganfast.ops." op " says what does not")

namespace ganfast {

// Tensors that one kernel can take: floating point, not empty, all of one dtype on one device.
inline bool is_list(TensorList x) {
  for (const Tensor& xk : x) {
    if (!is_floating(xk) || !is_like(xk, x[0], x[0].scalar_type()) || xk.sym_numel() == 0)
      return false;
  }
  return !x.empty();
}

// Is each y like its x?
inline bool are_alike(TensorList y, TensorList x) {
  for (size_t k = 0; k < y.size(); ++k) {
    if (!is_like(y[k], x[k], x[k].scalar_type()) || y[k].sym_sizes() != x[k].sym_sizes())
      return false;
  }
  return true;
}

inline Functor functor_named(std::string_view name) {
#define GANFAST_ROW(row, type, differences) \
  if (name == #row) return Functor::row;
  GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type, differences) " " #row
  TORCH_CHECK_VALUE(false, "f must be one of" GANFAST_FUNCTORS(GANFAST_ROW) ", got ", name);
#undef GANFAST_ROW
}

// x... and y..., laid out as the kernels read them; holds copies for as long as they are in use. On
// the Meta device, there are no terms.
struct Lists {
  c10::SmallVector<Tensor, 4> x, y, v;
  c10::SmallVector<Term, 4> terms;

  // Memory for the gradients in the inputs x... y... at some places.
  variable_list want(const char* op, Places wanted) {
    variable_list gradients;
    gradients.reserve(wanted.size());
    for (const size_t place : wanted) {
      const auto [k, of_x] = find(op, place);
      gradients.push_back(at::empty_like(of_x ? x[k] : y[k]));
      if (!terms.empty()) (of_x ? terms[k].dx : terms[k].dy) = gradients.back().mutable_data_ptr();
    }
    return gradients;
  }

  // Cotangents of the gradients at some places.
  void take(const char* op, TensorList cotangents, Places given) {
    TORCH_CHECK_VALUE(cotangents.size() == given.size(), op, ": v must have one for each of the ",
                      given.size(), " given places, got ", cotangents.size());
    v.reserve(given.size());
    for (size_t i = 0; i < given.size(); ++i) {
      const auto [k, of_x] = find(op, given[i]);
      const Tensor& like = of_x ? x[k] : y[k];
      TORCH_CHECK_VALUE(is_like(cotangents[i], like, like.scalar_type()) &&
                            cotangents[i].sym_sizes() == like.sym_sizes(),
                        op, ": v[", i, "] must be like its input, got shape ",
                        cotangents[i].sym_sizes());
      if (terms.empty()) continue;
      v.push_back(dense_like(cotangents[i], like));
      (of_x ? terms[k].vx : terms[k].vy) = v.back().const_data_ptr();
    }
  }

 private:
  std::pair<size_t, bool> find(const char* op, size_t place) const {
    TORCH_CHECK_VALUE(place < x.size() + y.size(), op, ": places must be among the ",
                      x.size() + y.size(), " inputs, got ", place);
    const bool of_x = place < x.size();
    return {of_x ? place : place - x.size(), of_x};
  }
};

}  // namespace ganfast

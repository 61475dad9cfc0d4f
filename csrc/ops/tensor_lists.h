// Lists of tensors laid out for the kernels of flat and rows, and what such lists must be.
#pragma once

#include <algorithm>

#include "list.h"
#include "tensors.h"

// Arguments that both families share.
#define GANFAST_TERMS std::string_view f, Floats weight, Floats a, Floats b

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
    if (!are_alike(y[k], x[k])) return false;
  }
  return true;
}

// x... and y..., laid out as the kernels read them; holds copies for as long as they are in use. On
// the Meta device, there are no terms.
struct Lists {
  const char* const op;
  Functor functor;
  c10::SmallVector<Tensor, 4> x, y, v;
  c10::SmallVector<Term, 4> terms;

  Lists(const char* op, TensorList xs, TensorList ys, GANFAST_TERMS) : op(op) {
    const size_t count = xs.size();
    const FunctorRow* const row = std::ranges::find(kFunctors, f, &FunctorRow::name);
    GANFAST_CHECK(op, row != std::end(kFunctors) && is_list(xs));
    functor = static_cast<Functor>(row - kFunctors);
    GANFAST_CHECK(op, weight.size() == count && a.size() == count && b.size() == count);
    GANFAST_CHECK(op, ys.empty() || (ys.size() == count && row->differences));
    x.reserve(count);
    y.reserve(ys.size());
  }

  // The terms of what x and y hold by now, each of so many positions.
  void make_terms(int64_t positions, Floats weight, Floats a, Floats b) {
    terms.reserve(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      const int64_t n = x[k].numel() / positions;
      terms.push_back({.x = x[k].const_data_ptr(),
                       .y = y.empty() ? nullptr : y[k].const_data_ptr(),
                       .n = n,
                       .weight = weight[k] / n,
                       .a = a[k],
                       .b = b[k]});
    }
  }

  // Memory for the gradients in the inputs x... y... at some places, after other results.
  variable_list want(Places wanted, variable_list made = {}) {
    made.reserve(made.size() + wanted.size());
    for (const size_t place : wanted) {
      const auto [k, of_x] = find(place);
      made.push_back(at::empty_like(of_x ? x[k] : y[k]));
      if (!terms.empty()) (of_x ? terms[k].dx : terms[k].dy) = made.back().mutable_data_ptr();
    }
    return made;
  }

  // Cotangents of the gradients at some places.
  void take(TensorList cotangents, Places given) {
    GANFAST_CHECK(op, cotangents.size() == given.size());
    v.reserve(given.size());
    for (size_t i = 0; i < given.size(); ++i) {
      const auto [k, of_x] = find(given[i]);
      const Tensor& like = of_x ? x[k] : y[k];
      GANFAST_CHECK(op, are_alike(cotangents[i], like));
      if (terms.empty()) continue;
      v.push_back(dense_like(cotangents[i], like));
      (of_x ? terms[k].vx : terms[k].vy) = v.back().const_data_ptr();
    }
  }

 private:
  std::pair<size_t, bool> find(size_t place) const {
    GANFAST_CHECK(op, place < x.size() + y.size());
    const bool of_x = place < x.size();
    return {of_x ? place : place - x.size(), of_x};
  }
};

}  // namespace ganfast

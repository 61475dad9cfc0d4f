// What the functors of both list families read, d_i = x_i - y_i or x_i in the type of computation,
// and what surrounds the loops over it.
#pragma once

#include "tiles.h"

namespace ganfast::cpu {
namespace {  // each file's own: the linker does not choose among clones

// Elements that are copied at a time: copies stay in the first cache.
constexpr int64_t kStretch = 1024;

template <class T>
struct One {
  const T* x;

  GANFAST_HD Compute<T> operator()(int64_t i) const { return load(x[i]); }
  GANFAST_HD void ask(int64_t begin, int64_t n) const { ask_ahead(x + begin, n); }
};

template <class T>
struct Two {
  const T* x;
  const T* y;

  GANFAST_HD Compute<T> operator()(int64_t i) const { return load(x[i]) - load(y[i]); }
  GANFAST_HD void ask(int64_t begin, int64_t n) const {
    ask_ahead(x + begin, n);
    ask_ahead(y + begin, n);
  }
};

// y_i = x_i
template <class From, class To>
GANFAST_SIMD void convert(const From* x, To* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(y[i], static_cast<Compute<To>>(load(x[i])));
}

// y_i = -x_i
template <class T>
GANFAST_SIMD void negate(const T* x, T* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(y[i], -load(x[i]));
}

// u_i -= v_i
template <class C>
GANFAST_SIMD void subtract(const C* v, C* u, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) u[i] -= v[i];
}

// x itself, or its n elements in the type of computation, in `buffer`.
template <class T>
const Compute<T>* widen(const T* x, int64_t n, Compute<T>* buffer) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    return x;
  } else {
    convert(x, buffer, n);
    return buffer;
  }
}

template <class T>
T* at(T* data, int64_t begin) {
  return data == nullptr ? nullptr : data + begin;
}

// Calls write(to, factor) for the gradient in x, or where that is not wanted in y, which is its
// negative; then makes the other. Where none is wanted, or To is not their type, `to` is `buffer`.
template <class To, class T, class Write>
void write_both(T* dx, T* dy, int64_t n, Compute<T> factor, To* buffer, Write write) {
  T* const to = dx ? dx : dy;
  if (to == nullptr) return write(buffer, factor);
  if constexpr (std::is_same_v<T, To>) {
    write(to, dx ? factor : -factor);
  } else {
    write(buffer, dx ? factor : -factor);
    convert(buffer, to, n);
  }
  if (dx && dy) negate(dx, dy, n);
}

}  // namespace
}  // namespace ganfast::cpu

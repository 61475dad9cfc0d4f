// What both list families do with a stretch of a term: the differences d_i = x_i - y_i, or x_i, in
// the type of computation, and the loops over f of them and its derivatives.
#pragma once

#include "tiles.h"

namespace ganfast::cpu {
namespace {  // each file's own: the linker does not choose among clones

using enum Subtrahend;

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

template <class T>
struct Shifted {
  const T* x;
  Compute<T> y;

  GANFAST_HD Compute<T> operator()(int64_t i) const { return load(x[i]) - y; }
  GANFAST_HD void ask(int64_t begin, int64_t n) const { ask_ahead(x + begin, n); }
};

// sum of f(d_i)
template <class F, class D>
GANFAST_SIMD double sum_values(D d, int64_t n, F functor) {
  return sum_of_blocks(n, [&](int64_t begin, int64_t size) GANFAST_INLINE {
    decltype(d(0)) values[kBlock];
    d.ask(begin, size);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) values[i] = functor.f(d(begin + i));
    return sum_of_block(values, size);
  });
}

// to_i = factor f'(d_i)
template <class F, class D, class C, class To>
GANFAST_SIMD void write_slopes(D d, int64_t n, F functor, C factor, To* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], factor * functor.df(d(i)));
}

// to_i = factor u_i f''(d_i); returns the sum of u_i f'(d_i)
template <class F, class D, class C, class To>
GANFAST_SIMD double write_curvatures(D d, const C* u, int64_t n, F functor, C factor, To* to) {
  return sum_of_blocks(n, [&](int64_t begin, int64_t size) GANFAST_INLINE {
    C slopes[kBlock];
    d.ask(begin, size);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const C di = d(begin + i), ui = u[begin + i];
      store(to[begin + i], factor * ui * functor.d2f(di));
      slopes[i] = ui * functor.df(di);
    }
    return sum_of_block(slopes, size);
  });
}

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

// A tensor's elements from `begin` on, or null where there is none.
template <class T>
const T* at(const void* data, int64_t begin) {
  return data == nullptr ? nullptr : static_cast<const T*>(data) + begin;
}
template <class T>
T* at(void* data, int64_t begin) {
  return data == nullptr ? nullptr : static_cast<T*>(data) + begin;
}

// Calls body(d) with the differences of n elements of a term.
template <class T, Subtrahend kind, class Body>
auto with_difference(const Term& term, int64_t begin, int64_t n, Body body) {
  const T* x = at<T>(term.x, begin);
  if constexpr (kind == none) {
    return body(One<T>{x});
  } else if constexpr (kind == same) {
    return body(Two<T>{x, at<T>(term.y, begin)});
  } else {
    return body(Shifted<T>{x, *at<Compute<T>>(term.y, 0)});
  }
}

// u_i = vx_i - vy_i for n elements of a term; vx itself where there is no vy.
template <class T, Subtrahend kind>
const Compute<T>* cotangents(const Term& term, int64_t begin, int64_t n, Compute<T>* u) {
  using C = Compute<T>;
  const T* vx = at<T>(term.vx, begin);
  if (vx && !term.vy) return widen(vx, n, u);
  std::fill_n(u, n, C(0));
  if (vx) convert(vx, u, n);
  if (!term.vy) return u;
  C buffer[kTile];
  if constexpr (kind == same) {
    subtract(widen(at<T>(term.vy, begin), n, buffer), u, n);
  } else if constexpr (kind == number) {
    std::fill_n(buffer, n, *at<C>(term.vy, 0));
    subtract(buffer, u, n);
  }
  return u;
}

// sum of f(d_i) over n elements of a term
template <class F, class T, Subtrahend kind>
double sum_of_values(const Term& term, int64_t begin, int64_t n) {
  if constexpr (std::is_same_v<F, Identity<Compute<T>>>) {
    return sum_of(at<T>(term.x, begin), n);
  } else {
    return with_difference<T, kind>(term, begin, n,
                                    [&](auto d) { return sum_values(d, n, functor_of<F>(term)); });
  }
}

// to_i = factor f'(d_i) for n elements of a term
template <class F, class T, Subtrahend kind, class To>
void write_slopes_of(const Term& term, int64_t begin, int64_t n, Compute<T> factor, To* to) {
  with_difference<T, kind>(term, begin, n,
                           [&](auto d) { write_slopes(d, n, functor_of<F>(term), factor, to); });
}

// to_i = factor u_i f''(d_i) for n elements of a term; returns the sum of u_i f'(d_i)
template <class F, class T, Subtrahend kind, class To>
double write_curvatures_of(const Term& term, int64_t begin, int64_t n, Compute<T> factor, To* to) {
  Compute<T> buffer[kTile];
  const Compute<T>* u = cotangents<T, kind>(term, begin, n, buffer);
  return with_difference<T, kind>(term, begin, n, [&](auto d) {
    return write_curvatures(d, u, n, functor_of<F>(term), factor, to);
  });
}

// Calls write(to, factor) for the gradient in x of n elements of a term, or where that is not
// wanted in y, which is its negative; then makes the other. Where none is wanted, or To is not
// their type, `to` is a buffer.
template <class To, class T, Subtrahend kind, class Write>
void write_both(const Term& term, int64_t begin, int64_t n, Compute<T> factor, Write write) {
  To buffer[kTile];
  T* const dx = at<T>(term.dx, begin);
  T* const dy = kind == same ? at<T>(term.dy, begin) : nullptr;
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

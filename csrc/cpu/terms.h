// What both list families do with a term: tiles of it on torch's threads, the differences
// d_i = x_i - y_i, or x_i, in the type of computation, and the loops over f of them and its
// derivatives.
#pragma once

#include <ATen/Parallel.h>

#include <span>
#include <vector>

#include "../ops/list.h"
#include "sum.h"

namespace ganfast::cpu {
namespace {  // each file's own: the linker does not choose among clones

using enum Subtrahend;
using Terms = std::span<const Term>;

inline int64_t tiles_of(const Term& term) {
  return (term.n + kTile - 1) / kTile;
}

inline int64_t count_tiles(Terms terms) {
  int64_t tiles = 0;
  for (const Term& term : terms) tiles += tiles_of(term);
  return tiles;
}

// For each term, the sum of its tiles' numbers, added up in a fixed order.
inline std::vector<double> sums_of_terms(Terms terms, const std::vector<double>& of_tiles) {
  std::vector<double> sums;
  sums.reserve(terms.size());
  const double* next = of_tiles.data();
  for (const Term& term : terms) {
    sums.push_back(pairwise_sum(next, tiles_of(term)));
    next += tiles_of(term);
  }
  return sums;
}

// For each term, the sum over its tiles of body(term, begin, size, tile), added up in a fixed
// order.
template <class Body>
std::vector<double> sum_terms(Terms terms, Body body) {
  std::vector<double> of_tiles(count_tiles(terms));
  const int64_t tiles = of_tiles.size();
  int64_t elements = 1;
  for (const Term& term : terms) elements += term.n;
  const int64_t grain = std::max(kGrain, kGrain * kTile * tiles / elements);
  at::parallel_for(0, tiles, grain, [&](int64_t first, int64_t last) {
    int64_t tile = 0;
    for (const Term& term : terms) {
      const int64_t end = tile + tiles_of(term);
      for (int64_t t = std::max(tile, first); t < std::min(end, last); ++t) {
        const int64_t begin = (t - tile) * kTile;
        of_tiles[t] = body(term, begin, std::min(kTile, term.n - begin), t);
      }
      tile = end;
    }
  });
  return sums_of_terms(terms, of_tiles);
}

// Elements that are copied at a time: copies stay in the first cache.
constexpr int64_t kStretch = 1024;

// The differences.

template <class T>
struct One {
  const T* x;

  GANFAST_HD Compute<T> operator()(int64_t i) const { return load(x[i]); }
  One from(int64_t begin) const { return {x + begin}; }
};

template <class T>
struct Two {
  const T* x;
  const T* y;

  GANFAST_HD Compute<T> operator()(int64_t i) const { return load(x[i]) - load(y[i]); }
  Two from(int64_t begin) const { return {x + begin, y + begin}; }
};

// The functors of elements, and the factors of their gradients: one for all, or one for each.

template <class Item>
struct All {
  Item item;

  GANFAST_HD Item operator()(int64_t) const { return item; }
};

template <class F, class C>
struct EachFunctor {
  const C* a;
  C b;

  GANFAST_HD F operator()(int64_t i) const { return {a[i], b}; }
};

template <class C>
struct EachFactor {
  C factor;
  const C* numbers;

  GANFAST_HD C operator()(int64_t i) const { return factor * numbers[i]; }
};

// y_i = f(d_i)
template <class D, class Functors, class C>
GANFAST_SIMD void write_values(D d, int64_t n, Functors f, C* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = f(i).f(d(i));
}

// to_i = factor_i f'(d_i)
template <class D, class Functors, class Factors, class To>
GANFAST_SIMD void write_slopes(D d, int64_t n, Functors f, Factors factor, To* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], factor(i) * f(i).df(d(i)));
}

// to_i = factor_i u_i f''(d_i), y_i = u_i f'(d_i)
template <class D, class C, class Functors, class Factors, class To>
GANFAST_SIMD void write_curvatures(D d, const C* u, int64_t n, Functors f, Factors factor, To* to,
                                   C* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const C di = d(i);
    store(to[i], factor(i) * u[i] * f(i).d2f(di));
    y[i] = u[i] * f(i).df(di);
  }
}

// write_curvatures with one functor and one factor; returns the sum of the u_i f'(d_i)
template <class D, class C, class F, class To>
double sum_curvatures(D d, const C* u, int64_t n, F f, C factor, To* to) {
  return sum_of_blocks(n, [&](int64_t begin, int64_t size) {
    C slopes[kBlock];
    write_curvatures(d.from(begin), u + begin, size, All<F>{f}, All<C>{factor}, to + begin, slopes);
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

// Numbers that repeat with a period, for the n elements from `begin` on: written to `buffer`.
template <class C>
const C* repeat(const void* numbers, int64_t period, int64_t begin, int64_t n, C* buffer) {
  const auto from = static_cast<const C*>(numbers);
  if (period == 1) std::fill_n(buffer, n, *from);
  for (int64_t i = 0; period > 1 && i < n;) {
    const int64_t place = (begin + i) % period, run = std::min(n - i, period - place);
    std::copy_n(from + place, run, buffer + i);
    i += run;
  }
  return buffer;
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

// Calls body(d) with the differences of n elements of a term, up to kStretch where y repeats.
template <class T, Subtrahend kind, class Body>
auto with_difference(const Term& term, int64_t begin, int64_t n, Body body) {
  const T* x = at<T>(term.x, begin);
  if constexpr (kind == none) {
    return body(One<T>{x});
  } else if constexpr (kind == same) {
    return body(Two<T>{x, at<T>(term.y, begin)});
  } else {
    Compute<T> x_buffer[kStretch], y_buffer[kStretch];
    return body(
        Two<Compute<T>>{widen(x, n, x_buffer), repeat(term.y, term.period, begin, n, y_buffer)});
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
  } else if constexpr (kind == repeated) {
    subtract(repeat(term.vy, term.period, begin, n, buffer), u, n);
  }
  return u;
}

template <class F>
F functor_of(const Term& term) {
  using C = decltype(F::a);
  return {static_cast<C>(term.a), static_cast<C>(term.b)};
}

// sum of f(d_i) over n elements of a term
template <class F, class T, Subtrahend kind>
double sum_of_values(const Term& term, int64_t begin, int64_t n) {
  if constexpr (std::is_same_v<F, Identity<Compute<T>>>) {
    return sum_of(at<T>(term.x, begin), n);
  } else {
    return with_difference<T, kind>(term, begin, n, [&](auto d) {
      return sum_of_blocks(n, [&](int64_t first, int64_t size) {
        Compute<T> values[kBlock];
        write_values(d.from(first), size, All<F>{functor_of<F>(term)}, values);
        return sum_of_block(values, size);
      });
    });
  }
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

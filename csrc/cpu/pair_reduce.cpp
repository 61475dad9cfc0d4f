// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on the CPU.
#include "../ops/pair_reduce.h"

#include "tiles.h"

namespace ganfast::cpu {
namespace {

// sum_i f(x_i - y_i)
template <class F, class T>
GANFAST_SIMD double value(const T* x, const T* y, int64_t n, F functor) {
  return tile_sum(
      n, [&](int64_t i) GANFAST_INLINE { return functor.f(load(x[i]) - load(y[i])); }, x, y);
}

// to_i = scale f'(x_i - y_i)
template <class F, class T>
GANFAST_SIMD void gradient(const T* x, const T* y, T* to, int64_t n, Compute<T> scale, F functor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], scale * functor.df(load(x[i]) - load(y[i])));
}

// u_i = a_i - b_i, where a null pointer stands for zeros
template <class T>
GANFAST_SIMD void difference(const T* a, const T* b, Compute<T>* u, int64_t n) {
  for (int64_t i = 0; i < n; ++i) u[i] = a ? load(a[i]) : 0;
  if (!b) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) u[i] -= load(b[i]);
}

// sum_i u_i f'(x_i - y_i)
template <class F, class T>
GANFAST_SIMD double slope(const T* x, const T* y, const Compute<T>* u, int64_t n, F functor) {
  return tile_sum(
      n, [&](int64_t i) GANFAST_INLINE { return u[i] * functor.df(load(x[i]) - load(y[i])); });
}

// to_i = scale u_i f''(x_i - y_i)
template <class F, class T>
GANFAST_SIMD void second_gradient(const T* x, const T* y, const Compute<T>* u, T* to, int64_t n,
                                  Compute<T> scale, F functor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    store(to[i], scale * u[i] * functor.d2f(load(x[i]) - load(y[i])));
  }
}

template <class T>
const T* at(const void* data, int64_t begin) {
  return data ? static_cast<const T*>(data) + begin : nullptr;
}

template <class F, class T>
F make_functor(const PairTerm& term) {
  return {static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)};
}

// Calls write(to, scale) for those of dx and dy that are wanted, whose tile begins at `begin`.
template <class T, class Write>
void write_wanted(const PairTerm& term, int64_t begin, const void* grad, Write write) {
  const double scale = static_cast<const Compute<T>*>(grad)[term.result] * term.weight;
  if (term.dx) write(static_cast<T*>(term.dx) + begin, static_cast<Compute<T>>(scale));
  if (term.dy) write(static_cast<T*>(term.dy) + begin, static_cast<Compute<T>>(-scale));
}

// result = the sums of body(term, begin, size), for each pair or over all
template <class Result, class Body>
void write_sums(std::span<const PairTerm> terms, bool per_pair, void* result, Body body) {
  if (per_pair) {
    const std::vector<double> sums = sums_of_terms(terms, body);
    std::copy(sums.begin(), sums.end(), static_cast<Result*>(result));
  } else {
    *static_cast<Result*>(result) = sum_over_tiles(terms, body);
  }
}

}  // namespace

void pair_reduce_forward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                         bool per_pair, void* loss) {
  with_types(functor, dtype, [&]<class F, class T>() {
    write_sums<Compute<T>>(terms, per_pair, loss,
                           [](const PairTerm& term, int64_t begin, int64_t size) {
                             const T* x = at<T>(term.x, begin);
                             const T* y = at<T>(term.y, begin);
                             return term.weight * value(x, y, size, make_functor<F, T>(term));
                           });
  });
}

void pair_reduce_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                          const void* grad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    for_each_tile(terms, count_tiles(terms),
                  [&](const PairTerm& term, int64_t begin, int64_t size, int64_t) {
                    const T* x = at<T>(term.x, begin);
                    const T* y = at<T>(term.y, begin);
                    write_wanted<T>(term, begin, grad, [&](T* to, Compute<T> scale) {
                      gradient(x, y, to, size, scale, make_functor<F, T>(term));
                    });
                  });
  });
}

void pair_reduce_double_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                                 bool per_pair, const void* grad, void* dgrad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    write_sums<Compute<T>>(terms, per_pair, dgrad,
                           [&](const PairTerm& term, int64_t begin, int64_t size) {
                             const T* x = at<T>(term.x, begin);
                             const T* y = at<T>(term.y, begin);
                             Compute<T> u[kTile];
                             difference(at<T>(term.vx, begin), at<T>(term.vy, begin), u, size);
                             const F f = make_functor<F, T>(term);
                             write_wanted<T>(term, begin, grad, [&](T* to, Compute<T> scale) {
                               second_gradient(x, y, u, to, size, scale, f);
                             });
                             return term.weight * slope(x, y, u, size, f);
                           });
  });
}

}  // namespace ganfast::cpu

// L = sum_k w_k * mean_i f(x_ki) and its two derivatives on the CPU.
#include "../ops/unary_reduce.h"

#include "simd.h"
#include "tiles.h"

namespace ganfast::cpu {
namespace {

// sum_i f(x_i)
template <class F, class T>
GANFAST_SIMD double value(const T* x, int64_t n, F functor) {
  return tile_sum(n, [&](int64_t i) GANFAST_INLINE { return functor.f(load(x[i])); });
}

// What statistics take of a tile besides f.
struct Logits {
  double sum;
  int32_t above, below;
};

template <class T>
GANFAST_SIMD Logits logits(const T* x, int64_t n, Compute<T> threshold) {
  double sum = 0;
  int32_t above = 0, below = 0;
#pragma omp simd reduction(+ : sum, above, below)
  for (int64_t i = 0; i < n; ++i) {
    const Compute<T> xi = load(x[i]);
    sum += xi;
    above += xi > threshold;
    below += xi < threshold;
  }
  return {sum, above, below};
}

// dx_i = scale f'(x_i)
template <class F, class T>
GANFAST_SIMD void gradient(const T* x, T* dx, int64_t n, Compute<T> scale, F functor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(dx[i], scale * functor.df(load(x[i])));
}

// dx_i = scale v_i f''(x_i); returns sum_i v_i f'(x_i)
template <class F, class T>
GANFAST_SIMD double second_gradient(const T* x, const T* v, T* dx, int64_t n, Compute<T> scale,
                                    F functor) {
  return tile_sum(n, [&](int64_t i) GANFAST_INLINE {
    const Compute<T> xi = load(x[i]), vi = load(v[i]);
    store(dx[i], scale * vi * functor.d2f(xi));
    return vi * functor.df(xi);
  });
}

template <class F, class T>
F make_functor(const UnaryTerm& term) {
  return {static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)};
}

}  // namespace

void unary_reduce_forward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                          void* loss) {
  with_types(functor, dtype, [&]<class F, class T>() {
    *static_cast<Compute<T>*>(loss) =
        sum_over_tiles(terms, [](const UnaryTerm& term, int64_t begin, int64_t size) {
          return term.weight *
                 value(static_cast<const T*>(term.x) + begin, size, make_functor<F, T>(term));
        });
  });
}

void unary_reduce_forward_stats(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                                double threshold, void* loss, void* stats) {
  with_types(functor, dtype, [&]<class F, class T>() {
    const int64_t tiles = count_tiles(terms);
    std::vector<double> partial(4 * tiles);
    double *const value_of = partial.data(), *const sum_of = value_of + tiles,
                  *const above_of = sum_of + tiles, *const below_of = above_of + tiles;
    for_each_tile(terms, tiles,
                  [&](const UnaryTerm& term, int64_t begin, int64_t size, int64_t tile) {
                    const T* x = static_cast<const T*>(term.x) + begin;
                    const Logits of_tile = logits(x, size, static_cast<Compute<T>>(threshold));
                    value_of[tile] = term.weight * value(x, size, make_functor<F, T>(term));
                    sum_of[tile] = of_tile.sum;
                    above_of[tile] = of_tile.above;
                    below_of[tile] = of_tile.below;
                  });
    std::vector<double> values;
    values.reserve(terms.size());
    auto row = static_cast<Compute<T>*>(stats);
    int64_t first = 0;
    for (const UnaryTerm& term : terms) {
      const int64_t count = (term.n + kTile - 1) / kTile;
      values.push_back(pairwise_sum(value_of + first, count));
      *row++ = values.back();
      for (const double* column : {sum_of, above_of, below_of})
        *row++ = pairwise_sum(column + first, count) / term.n;
      first += count;
    }
    *static_cast<Compute<T>*>(loss) = pairwise_sum(values.data(), values.size());
  });
}

void unary_reduce_backward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                           const void* grad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    const double outer = *static_cast<const Compute<T>*>(grad);
    for_each_tile(
        terms, count_tiles(terms),
        [&](const UnaryTerm& term, int64_t begin, int64_t size, int64_t) {
          gradient(static_cast<const T*>(term.x) + begin, static_cast<T*>(term.dx) + begin, size,
                   static_cast<Compute<T>>(outer * term.weight), make_functor<F, T>(term));
        });
  });
}

void unary_reduce_double_backward(UnaryFunctor functor, DType dtype,
                                  std::span<const UnaryTerm> terms, const void* grad, void* dgrad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    const double outer = *static_cast<const Compute<T>*>(grad);
    *static_cast<Compute<T>*>(dgrad) =
        sum_over_tiles(terms, [&](const UnaryTerm& term, int64_t begin, int64_t size) {
          return term.weight * second_gradient(static_cast<const T*>(term.x) + begin,
                                               static_cast<const T*>(term.v) + begin,
                                               static_cast<T*>(term.dx) + begin, size,
                                               static_cast<Compute<T>>(outer * term.weight),
                                               make_functor<F, T>(term));
        });
  });
}

}  // namespace ganfast::cpu

// L = sum_k w_k * mean_i f(x_ki) and its two derivatives on the CPU.
#include "../ops/unary_reduce.h"

#include "logits.h"

namespace ganfast::cpu {
namespace {

// sum_i f(x_i)
template <class F, class T>
GANFAST_SIMD double value(const T* x, int64_t n, F functor) {
  if constexpr (std::is_same_v<F, Identity<Compute<T>>>) return sum_of(x, n);
  return tile_sum(n, [&](int64_t i) GANFAST_INLINE { return functor.f(load(x[i])); }, x);
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
  return tile_sum(
      n,
      [&](int64_t i) GANFAST_INLINE {
        const Compute<T> xi = load(x[i]), vi = load(v[i]);
        store(dx[i], scale * vi * functor.d2f(xi));
        return vi * functor.df(xi);
      },
      x, v);
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
    std::vector<double> values(tiles);
    std::vector<Logits> logits(tiles);
    for_each_tile(terms, tiles,
                  [&](const UnaryTerm& term, int64_t begin, int64_t size, int64_t tile) {
                    const T* x = static_cast<const T*>(term.x) + begin;
                    values[tile] = term.weight * value(x, size, make_functor<F, T>(term));
                    logits[tile] = logits_of(x, size, static_cast<Compute<T>>(threshold));
                  });
    std::vector<double> of_terms;
    const auto rows = static_cast<Compute<T>*>(stats);
    int64_t first = 0;
    for (const UnaryTerm& term : terms) {
      const int64_t count = tiles_of(term);
      const size_t k = of_terms.size();
      of_terms.push_back(pairwise_sum(&values[first], count));
      write_stats(of_terms[k], total_of(&logits[first], count), term.n, rows + 4 * k);
      first += count;
    }
    *static_cast<Compute<T>*>(loss) = pairwise_sum(of_terms.data(), of_terms.size());
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

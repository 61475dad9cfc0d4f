// L = sum_k w_k * mean_i f(x_ki) and its two derivatives on the CPU.
#include "../ops/unary_reduce.h"

#include <numeric>

#include "simd.h"
#include "tiles.h"

namespace ganfast::cpu {
namespace {

// sum_i x_i of a tile. It should cost no more than to read them: blocks of four runs, since
// additions that wait for one another would take longer, and what is read next is asked for ahead.
template <class T>
GANFAST_SIMD double sum_of(const T* x, int64_t n) {
  constexpr int64_t kRun = 32, kAhead = 1024, kLine = 64;  // elements, bytes, bytes
  const auto four_runs = [&](int64_t run) GANFAST_INLINE {
    const auto at = [&](int64_t i) GANFAST_INLINE { return double(load(x[i])); };
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < run; ++i)
      sum += (at(i) + at(i + run)) + (at(i + 2 * run) + at(i + 3 * run));
    return sum;
  };
  double total = 0;
  for (; n >= 4 * kRun; x += 4 * kRun, n -= 4 * kRun) {
    for (int64_t byte = 0; byte < int64_t(4 * kRun * sizeof(T)); byte += kLine)
      __builtin_prefetch(reinterpret_cast<const char*>(x) + kAhead + byte);
    total += four_runs(kRun);
  }
  total += four_runs(n / 4);
  for (int64_t i = n / 4 * 4; i < n; ++i) total += load(x[i]);
  return total;
}

// sum_i f(x_i)
template <class F, class T>
GANFAST_SIMD double value(const T* x, int64_t n, F functor) {
  if constexpr (std::is_same_v<F, Identity<Compute<T>>>) return sum_of(x, n);
  return tile_sum(n, [&](int64_t i) GANFAST_INLINE { return functor.f(load(x[i])); });
}

// What statistics take of a tile besides f.
struct Logits {
  double sum;
  int64_t above, below;
};

template <class T>
GANFAST_SIMD Logits logits(const T* x, int64_t n, Compute<T> threshold) {
  int32_t above = 0, below = 0;
#pragma omp simd reduction(+ : above, below)
  for (int64_t i = 0; i < n; ++i) {
    above += load(x[i]) > threshold;
    below += load(x[i]) < threshold;
  }
  return {sum_of(x, n), above, below};
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
    std::vector<double> values(tiles), sums(tiles);
    std::vector<int64_t> above(tiles), below(tiles);
    for_each_tile(terms, tiles,
                  [&](const UnaryTerm& term, int64_t begin, int64_t size, int64_t tile) {
                    const T* x = static_cast<const T*>(term.x) + begin;
                    values[tile] = term.weight * value(x, size, make_functor<F, T>(term));
                    const Logits of_tile = logits(x, size, static_cast<Compute<T>>(threshold));
                    sums[tile] = of_tile.sum;
                    above[tile] = of_tile.above;
                    below[tile] = of_tile.below;
                  });
    std::vector<double> of_terms;
    int64_t first = 0;
    auto row = static_cast<Compute<T>*>(stats);
    for (const UnaryTerm& term : terms) {
      const int64_t count = tiles_of(term), last = first + count;
      const double n = term.n;
      of_terms.push_back(pairwise_sum(&values[first], count));
      *row++ = of_terms.back();
      *row++ = pairwise_sum(&sums[first], count) / n;
      *row++ = std::accumulate(&above[first], &above[0] + last, int64_t(0)) / n;
      *row++ = std::accumulate(&below[first], &below[0] + last, int64_t(0)) / n;
      first = last;
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

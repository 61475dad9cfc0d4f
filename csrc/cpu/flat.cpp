// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on the CPU.
#include "../ops/flat.h"

#include "terms.h"

namespace ganfast::cpu {
namespace {

// What statistics take of logits: their sum, and how many lie above and below a threshold.
struct Logits {
  double sum;
  int64_t above, below;
};

template <class T>
GANFAST_SIMD Logits logits_of(const T* x, int64_t n, Compute<T> threshold) {
  int32_t above = 0, below = 0;
#pragma omp simd reduction(+ : above, below)
  for (int64_t i = 0; i < n; ++i) {
    above += load(x[i]) > threshold;
    below += load(x[i]) < threshold;
  }
  return {sum_of(x, n), above, below};
}

// The sum over the `count` tiles of a tensor, in a fixed order.
Logits total_of(const Logits* tiles, int64_t count) {
  if (count <= 1) return count > 0 ? tiles[0] : Logits{};
  const int64_t half = count / 2;
  const Logits first = total_of(tiles, half), second = total_of(tiles + half, count - half);
  return {first.sum + second.sum, first.above + second.above, first.below + second.below};
}

// row = (value, mean logit, shares above and below the threshold), of n logits
template <class C>
void write_stats(double value, const Logits& logits, int64_t n, C* row) {
  row[0] = value;
  row[1] = logits.sum / n;
  row[2] = logits.above / double(n);
  row[3] = logits.below / double(n);
}

// sums_i += x_i
template <class C>
GANFAST_SIMD void add(const C* x, double* sums, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

// What gradients are written as: what repeats is added up before it is rounded.
template <class T, Subtrahend kind>
using Gradient = std::conditional_t<kind == repeated, Compute<T>, T>;

// Elements of a stretch: all of a tile where nothing is copied.
template <Subtrahend kind>
constexpr int64_t kStep = kind == repeated ? kStretch : kTile;

// What the terms' sums are returned as: one by one, or all together.
template <class C>
void write_sums(const FlatList& list, const std::vector<double>& sums, void* result) {
  if (list.per_term) {
    std::copy(sums.begin(), sums.end(), static_cast<C*>(result));
  } else {
    *static_cast<C*>(result) = pairwise_sum(sums.data(), sums.size());
  }
}

// grad weight_k of a term
template <class C>
C scale_of(const FlatList& list, const Term& term, const void* grad) {
  const int64_t k = list.per_term ? &term - list.terms.data() : 0;
  return static_cast<C>(double(static_cast<const C*>(grad)[k]) * term.weight);
}

// dy of a sample that repeats, a stretch of positions at a time: over the batch in its order. See
// write_gradients for `write`.
template <class C, class Write>
void write_sample_gradient(const Term& term, C scale, Write write) {
  at::parallel_for(0, (term.period + kStretch - 1) / kStretch, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first * kStretch; p < std::min(last * kStretch, term.period); p += kStretch) {
      const int64_t size = std::min(kStretch, term.period - p);
      C gradient[kStretch];
      double sums[kStretch] = {};
      for (int64_t begin = p; begin < term.n; begin += term.period) {
        write(term, begin, size, -scale, gradient);
        add(gradient, sums, size);
      }
      convert(sums, static_cast<C*>(term.dy) + p, size);
    }
  });
}

// The gradients of all terms. write(term, begin, n, scale, to) writes the n numbers of a stretch,
// in the type of computation, to `to`, and returns their part of the list's sums, which this
// returns. Without `sums`, terms of which no gradient is wanted are left out.
template <class T, Subtrahend kind, bool sums, class Write>
std::vector<double> write_gradients(const FlatList& list, const void* grad, Write write) {
  using C = Compute<T>;
  std::vector<double> of_y(kind == repeated ? count_tiles(list.terms) : 0);
  const std::vector<double> written =
      sum_terms(list.terms, [&](const Term& term, int64_t first, int64_t size, int64_t tile) {
        if (!sums && !term.dx && !term.dy) return 0.0;
        const C scale = scale_of<C>(list, term, grad);
        double sum = 0;
        for (int64_t begin = first; begin < first + size; begin += kStep<kind>) {
          const int64_t n = std::min(kStep<kind>, first + size - begin);
          using To = Gradient<T, kind>;
          write_both<To, T, kind>(term, begin, n, scale, [&](To* to, C factor) {
            sum += write(term, begin, n, factor, to);
            if (kind == repeated && term.dy && term.period == 1) of_y[tile] -= sum_of(to, n);
          });
        }
        return sum;
      });
  if constexpr (kind == repeated) {
    const std::vector<double> of_terms = sums_of_terms(list.terms, of_y);
    for (size_t k = 0; k < of_terms.size(); ++k) {
      const Term& term = list.terms[k];
      if (term.dy && term.period == 1) *static_cast<C*>(term.dy) = of_terms[k];
      if (term.dy && term.period > 1)
        write_sample_gradient<C>(term, scale_of<C>(list, term, grad), write);
    }
  }
  return written;
}

}  // namespace

void flat_forward(const FlatList& list, void* loss, void* stats, double threshold) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    std::vector<Logits> logits(stats == nullptr ? 0 : count_tiles(list.terms));
    const std::vector<double> sums =
        sum_terms(list.terms, [&](const Term& term, int64_t first, int64_t size, int64_t tile) {
          if (stats != nullptr) {
            logits[tile] = logits_of(at<T>(term.x, first), size, static_cast<C>(threshold));
          }
          double sum = 0;
          for (int64_t begin = first; begin < first + size; begin += kStep<kind>)
            sum +=
                sum_of_values<F, T, kind>(term, begin, std::min(kStep<kind>, first + size - begin));
          return term.weight * sum;
        });
    write_sums<C>(list, sums, loss);
    if (stats == nullptr) return;
    const Logits* next = logits.data();
    for (size_t k = 0; k < sums.size(); ++k) {
      const Term& term = list.terms[k];
      write_stats(sums[k], total_of(next, tiles_of(term)), term.n, static_cast<C*>(stats) + 4 * k);
      next += tiles_of(term);
    }
  });
}

void flat_backward(const FlatList& list, const void* grad) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    write_gradients<T, kind, false>(
        list, grad, [](const Term& term, int64_t begin, int64_t n, C scale, auto* to) {
          with_difference<T, kind>(
              term, begin, n, [&](auto d) { write_slopes(d, n, functor_of<F>(term), scale, to); });
          return 0.0;
        });
  });
}

void flat_double_backward(const FlatList& list, const void* grad, void* dgrad) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const std::vector<double> sums = write_gradients<T, kind, true>(
        list, grad, [](const Term& term, int64_t begin, int64_t n, C scale, auto* to) {
          C buffer[kTile];
          const C* u = cotangents<T, kind>(term, begin, n, buffer);
          return with_difference<T, kind>(term, begin, n, [&](auto d) {
            return term.weight * write_curvatures(d, u, n, functor_of<F>(term), scale, to);
          });
        });
    write_sums<C>(list, sums, dgrad);
  });
}

}  // namespace ganfast::cpu

// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on the CPU.
#include "../ops/flat.h"

#include "terms.h"

namespace ganfast::cpu {
namespace {

// How many of n logits are above and below a threshold
template <class T>
GANFAST_SIMD void count(const T* x, int64_t n, Compute<T> threshold, double* above, double* below) {
  int32_t of_above = 0, of_below = 0;
#pragma omp simd reduction(+ : of_above, of_below)
  for (int64_t i = 0; i < n; ++i) {
    of_above += load(x[i]) > threshold;
    of_below += load(x[i]) < threshold;
  }
  *above = of_above;
  *below = of_below;
}

// What gradients are written as: for a number they are added up before they are rounded.
template <class T, Subtrahend kind>
using Gradient = std::conditional_t<kind == number, Compute<T>, T>;

// Elements of a stretch: all of a tile where no gradient is copied.
template <Subtrahend kind>
constexpr int64_t kStep = kind == number ? kStretch : kTile;

// What the terms' sums are returned as: one by one, or all together.
template <class C>
void write_sums(const FlatList& list, const std::vector<double>& sums, void* result) {
  if (list.per_term) {
    std::copy(sums.begin(), sums.end(), static_cast<C*>(result));
  } else {
    *static_cast<C*>(result) = pairwise_sum(sums.data(), sums.size());
  }
}

// The gradients of all terms. write(term, begin, n, scale, to) writes the n numbers of a stretch,
// in the type of computation, to `to`, and returns their part of the list's sums, which this
// returns. Without `sums`, terms of which no gradient is wanted are left out.
template <class T, Subtrahend kind, bool sums, class Write>
std::vector<double> write_gradients(const FlatList& list, const void* grad, Write write) {
  using C = Compute<T>;
  std::vector<double> of_y(kind == number ? count_tiles(list.terms) : 0);
  const std::vector<double> written =
      sum_terms(list.terms, [&](const Term& term, int64_t first, int64_t size, int64_t tile) {
        if (!sums && !term.dx && !term.dy) return 0.0;
        const int64_t k = list.per_term ? &term - list.terms.data() : 0;
        const C scale = double(static_cast<const C*>(grad)[k]) * term.weight;
        double sum = 0;
        for (int64_t begin = first; begin < first + size; begin += kStep<kind>) {
          const int64_t n = std::min(kStep<kind>, first + size - begin);
          using To = Gradient<T, kind>;
          write_both<To, T, kind>(term, begin, n, scale, [&](To* to, C factor) {
            sum += write(term, begin, n, factor, to);
            if (kind == number && term.dy) of_y[tile] -= sum_of(to, n);
          });
        }
        return sum;
      });
  if (kind != number) return written;
  const std::vector<double> of_terms = sums_of_terms(list.terms, of_y);
  for (size_t k = 0; k < of_terms.size(); ++k)
    if (list.terms[k].dy) *static_cast<C*>(list.terms[k].dy) = of_terms[k];
  return written;
}

}  // namespace

void flat_forward(const FlatList& list, void* loss, void* stats_, double threshold) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const auto stats = static_cast<C*>(stats_);
    std::vector<double> logits[3];  // for each tile, their sum, and how many are above and below
    for (auto& of_tiles : logits) of_tiles.resize(stats == nullptr ? 0 : count_tiles(list.terms));
    const std::vector<double> sums =
        sum_terms(list.terms, [&](const Term& term, int64_t first, int64_t size, int64_t tile) {
          if (stats != nullptr) {
            const T* x = at<T>(term.x, first);
            logits[0][tile] = sum_of(x, size);
            count(x, size, C(threshold), &logits[1][tile], &logits[2][tile]);
          }
          double sum = 0;
          for (int64_t begin = first; begin < first + size; begin += kStep<kind>)
            sum +=
                sum_of_values<F, T, kind>(term, begin, std::min(kStep<kind>, first + size - begin));
          return term.weight * sum;
        });
    write_sums<C>(list, sums, loss);
    if (stats == nullptr) return;
    for (size_t k = 0; k < sums.size(); ++k) stats[4 * k] = sums[k];
    for (int j = 0; j < 3; ++j) {
      const std::vector<double> totals = sums_of_terms(list.terms, logits[j]);
      for (size_t k = 0; k < totals.size(); ++k) stats[4 * k + 1 + j] = totals[k] / list.terms[k].n;
    }
  });
}

void flat_backward(const FlatList& list, const void* grad) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    write_gradients<T, kind, false>(
        list, grad, [](const Term& term, int64_t begin, int64_t n, Compute<T> scale, auto* to) {
          write_slopes_of<F, T, kind>(term, begin, n, scale, to);
          return 0.0;
        });
  });
}

void flat_double_backward(const FlatList& list, const void* grad, void* dgrad) {
  with_list<true>(list, [&]<class F, class T, Subtrahend kind>() {
    const std::vector<double> sums = write_gradients<T, kind, true>(
        list, grad, [](const Term& term, int64_t begin, int64_t n, Compute<T> scale, auto* to) {
          return term.weight * write_curvatures_of<F, T, kind>(term, begin, n, scale, to);
        });
    write_sums<Compute<T>>(list, sums, dgrad);
  });
}

}  // namespace ganfast::cpu

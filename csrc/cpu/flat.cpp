// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on the CPU.
#include "../ops/flat.h"

#include "difference.h"
#include "logits.h"

namespace ganfast::cpu {
namespace {

using enum Subtrahend;

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

// sums_i += x_i
template <class C>
GANFAST_SIMD void add(const C* x, double* sums, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
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

// What gradients are written as: what repeats is added up before it is rounded.
template <class T, Subtrahend kind>
using Gradient = std::conditional_t<kind == repeated, Compute<T>, T>;

// Elements of a stretch: all of a tile where nothing is copied.
template <Subtrahend kind>
constexpr int64_t kStep = kind == repeated ? kStretch : kTile;

// Calls body(d) with the differences of n elements of a term, a stretch.
template <class T, Subtrahend kind, class Body>
auto with_difference(const FlatTerm& term, int64_t begin, int64_t n, Body body) {
  const T* x = static_cast<const T*>(term.x) + begin;
  if constexpr (kind == none) {
    return body(One<T>{x});
  } else if constexpr (kind == same) {
    return body(Two<T>{x, static_cast<const T*>(term.y) + begin});
  } else {
    Compute<T> x_buffer[kStretch], y_buffer[kStretch];
    return body(
        Two<Compute<T>>{widen(x, n, x_buffer), repeat(term.y, term.period, begin, n, y_buffer)});
  }
}

// u_i = vx_i - vy_i for n elements of a term, a stretch; vx itself where there is no vy.
template <class T, Subtrahend kind>
const Compute<T>* cotangents(const FlatTerm& term, int64_t begin, int64_t n, Compute<T>* u) {
  using C = Compute<T>;
  const T* vx = at(static_cast<const T*>(term.vx), begin);
  if (vx && !term.vy) return widen(vx, n, u);
  std::fill_n(u, n, C(0));
  if (vx) convert(vx, u, n);
  if (!term.vy) return u;
  C buffer[kTile];
  if constexpr (kind == same) {
    subtract(widen(static_cast<const T*>(term.vy) + begin, n, buffer), u, n);
  } else if constexpr (kind == repeated) {
    subtract(repeat(term.vy, term.period, begin, n, buffer), u, n);
  }
  return u;
}

template <class F>
F functor_of(const FlatTerm& term) {
  using C = decltype(F::a);
  return {static_cast<C>(term.a), static_cast<C>(term.b)};
}

// Calls body.operator()<F, T, kind>() with the types of a list.
template <class Body>
void with_list(const FlatList& list, Body body) {
  const auto with_kind = [&]<Subtrahend kind>() {
    with_types<kind != none>(list.functor, list.dtype,
                             [&]<class F, class T>() { body.template operator()<F, T, kind>(); });
  };
  switch (list.subtrahend) {
    case none:
      return with_kind.template operator()<none>();
    case same:
      return with_kind.template operator()<same>();
    case repeated:
      return with_kind.template operator()<repeated>();
  }
}

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
C scale_of(const FlatList& list, const FlatTerm& term, const void* grad) {
  const int64_t k = list.per_term ? &term - list.terms.data() : 0;
  return static_cast<C>(double(static_cast<const C*>(grad)[k]) * term.weight);
}

// dy of a sample that repeats, a stretch of positions at a time: over the batch in its order. See
// write_gradients for `write`.
template <class C, class Write>
void write_sample_gradient(const FlatTerm& term, C scale, Write write) {
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
      sum_terms(list.terms, [&](const FlatTerm& term, int64_t first, int64_t size, int64_t tile) {
        if (!sums && !term.dx && !term.dy) return 0.0;
        const C scale = scale_of<C>(list, term, grad);
        double sum = 0;
        for (int64_t begin = first; begin < first + size; begin += kStep<kind>) {
          const int64_t n = std::min(kStep<kind>, first + size - begin);
          Gradient<T, kind> buffer[kTile];
          T* dx = at(static_cast<T*>(term.dx), begin);
          T* dy = kind == same ? at(static_cast<T*>(term.dy), begin) : nullptr;
          write_both(dx, dy, n, scale, buffer, [&](Gradient<T, kind>* to, C factor) {
            sum += write(term, begin, n, factor, to);
            if (kind == repeated && term.dy && term.period == 1) of_y[tile] -= sum_of(to, n);
          });
        }
        return sum;
      });
  if constexpr (kind == repeated) {
    const std::vector<double> of_terms = sums_of_terms(list.terms, of_y);
    for (size_t k = 0; k < of_terms.size(); ++k) {
      const FlatTerm& term = list.terms[k];
      if (term.dy && term.period == 1) *static_cast<C*>(term.dy) = of_terms[k];
      if (term.dy && term.period > 1)
        write_sample_gradient<C>(term, scale_of<C>(list, term, grad), write);
    }
  }
  return written;
}

}  // namespace

void flat_forward(const FlatList& list, void* loss, void* stats, double threshold) {
  with_list(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    std::vector<Logits> logits(stats == nullptr ? 0 : count_tiles(list.terms));
    const auto sum_of_stretch = [](const FlatTerm& term, int64_t begin, int64_t n) {
      return with_difference<T, kind>(term, begin, n, [&](auto d) {
        if constexpr (std::is_same_v<F, Identity<C>>) {
          return sum_of(d.x, n);
        } else {
          return sum_values(d, n, functor_of<F>(term));
        }
      });
    };
    const std::vector<double> sums =
        sum_terms(list.terms, [&](const FlatTerm& term, int64_t first, int64_t size, int64_t tile) {
          if (stats != nullptr) {
            const T* x = static_cast<const T*>(term.x) + first;
            logits[tile] = logits_of(x, size, static_cast<C>(threshold));
          }
          double sum = 0;
          for (int64_t begin = first; begin < first + size; begin += kStep<kind>)
            sum += sum_of_stretch(term, begin, std::min(kStep<kind>, first + size - begin));
          return term.weight * sum;
        });
    write_sums<C>(list, sums, loss);
    if (stats == nullptr) return;
    const Logits* next = logits.data();
    for (size_t k = 0; k < sums.size(); ++k) {
      const FlatTerm& term = list.terms[k];
      write_stats(sums[k], total_of(next, tiles_of(term)), term.n, static_cast<C*>(stats) + 4 * k);
      next += tiles_of(term);
    }
  });
}

void flat_backward(const FlatList& list, const void* grad) {
  with_list(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    write_gradients<T, kind, false>(
        list, grad, [](const FlatTerm& term, int64_t begin, int64_t n, C scale, auto* to) {
          with_difference<T, kind>(
              term, begin, n, [&](auto d) { write_slopes(d, n, functor_of<F>(term), scale, to); });
          return 0.0;
        });
  });
}

void flat_double_backward(const FlatList& list, const void* grad, void* dgrad) {
  with_list(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const std::vector<double> sums = write_gradients<T, kind, true>(
        list, grad, [](const FlatTerm& term, int64_t begin, int64_t n, C scale, auto* to) {
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

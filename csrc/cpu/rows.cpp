// s_p = sum_k w_k s_kp mean_j f(x_kpj - y_kpj), functions of it and their two derivatives on the
// CPU.
//
// Positions are taken in runs of up to kStretch elements, over which f is one flat loop however
// small a sample is; a second loop adds up each position's part. Of pixels, a run is a stretch of
// one channel. A sample of more elements is a term of flat, with a weight and an a of its own.
#include "../ops/rows.h"

#include "terms.h"

namespace ganfast::cpu {
namespace {

// Loops over a run, in which each element may have an a of its own, else null: with one loop for
// both, the compiler would not vectorize it.

// y_i = f(d_i)
template <class F, class D, class C>
GANFAST_SIMD void values_of_run(D d, int64_t n, F functor, const C* a, C* y) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = functor.f(d(i));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = F{a[i], functor.b}.f(d(i));
}

// to_i = factor q_i f'(d_i)
template <class F, class D, class C, class To>
GANFAST_SIMD void slopes_of_run(D d, int64_t n, F functor, const C* a, C factor, const C* q,
                                To* to) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(to[i], factor * q[i] * functor.df(d(i)));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], factor * q[i] * F{a[i], functor.b}.df(d(i)));
}

// to_i = factor q_i u_i f''(d_i), y_i = u_i f'(d_i)
template <class F, class D, class C, class To>
GANFAST_SIMD void curvatures_of_run(D d, const C* u, int64_t n, F functor, const C* a, C factor,
                                    const C* q, To* to, C* y) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const C di = d(i);
      store(to[i], factor * q[i] * u[i] * functor.d2f(di));
      y[i] = u[i] * functor.df(di);
    }
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const F f{a[i], functor.b};
    const C di = d(i);
    store(to[i], factor * q[i] * u[i] * f.d2f(di));
    y[i] = u[i] * f.df(di);
  }
}

// What a loop takes for each element i: one factor for all, or one for each.
template <class Factor>
struct Constant {
  Factor value;

  GANFAST_HD Factor operator()(int64_t) const { return value; }
};
template <class Factor, class C>
struct Each {
  Factor factor;
  const C* numbers;

  GANFAST_HD Factor operator()(int64_t i) const { return factor * numbers[i]; }
};

// sums_i += weight_i sum_j y_ij
template <class C, class Weights>
GANFAST_SIMD void add_rows(const C* y, Weights weight, int64_t count, int64_t size, double* sums) {
  if (size == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += weight(i) * y[i];
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < size; ++j) sum += y[i * size + j];
    sums[i] += weight(i) * sum;
  }
}

// sum of x_i y_i
template <class T>
GANFAST_SIMD double dot(const T* x, const T* y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += double(load(x[i])) * double(load(y[i]));
  return sum;
}

// sums_i += weight_i x_i y_i
template <class T, class Weights>
GANFAST_SIMD void add_products(const T* x, const T* y, int64_t n, Weights weight, double* sums) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += weight(i) * (double(load(x[i])) * double(load(y[i])));
}

// Is f(x_i) = x_i^2? Its sums, of norms above all, are taken in double.
template <class F, Subtrahend kind>
bool is_square(const Term& term) {
  return std::is_same_v<F, Square<decltype(F::a)>> && kind == none && term.a == 0;
}

// to_i = p_i u_i + q_i x_i
template <class T, class C, class Factor>
GANFAST_SIMD void combine(const T* x, const C* u, int64_t n, Factor p, Factor q, T* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], p(i) * u[i] + q(i) * load(x[i]));
}

// to_i = numbers_i s_i, where the numbers are `step` apart, 0 or 1, and s may be null for ones
template <class C>
GANFAST_SIMD void multiply(const C* numbers, int64_t step, const C* s, int64_t n, C* to) {
  if (step == 0) std::fill_n(to, n, *numbers);
#pragma omp simd
  for (int64_t i = 0; i < step * n; ++i) to[i] = numbers[i];
  if (s == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] *= s[i];
}

// q_p = outer numbers_p, where the numbers are `step` apart.
template <class C>
struct Grad {
  C outer;
  const C* numbers;
  int64_t step;

  static Grad of(const RowsGrad& grad) {
    const auto given = static_cast<const C*>(grad.grad);
    if (grad.derivatives == nullptr) return {1, given, grad.step};
    return {*given, static_cast<const C*>(grad.derivatives), 1};
  }

  double q(int64_t p) const { return double(outer) * numbers[p * step]; }
};

// `count` positions from `position` on.
struct Strip {
  int64_t index, position, count;
};

// The elements of a strip in a term, `size` of each position, or one in a channel of pixels.
template <class T>
struct Run {
  using C = Compute<T>;

  Term part;
  int64_t position, count, size;

  const C* s() const { return at<C>(part.sample_weight, position); }
  const C* a(C* buffer) const { return spread(at<C>(part.sample_a, position), buffer); }

  // Calls body(weights) with factor weight s_p of each position.
  template <class Body>
  void with_weights(double factor, Body body) const {
    const double weight = factor * part.weight;
    if (s() == nullptr) return body(Constant<double>{weight});
    body(Each<double, C>{weight, s()});
  }

  // Each position's number for each of its elements, in `buffer` where a position has several.
  const C* spread(const C* numbers, C* buffer) const {
    if (size == 1 || numbers == nullptr) return numbers;
    for (int64_t i = 0; i < count; ++i) std::fill_n(buffer + i * size, size, numbers[i]);
    return buffer;
  }

  // numbers_p s_p for each element, with the numbers `step` apart, 0 or 1
  const C* weighted(const C* numbers, int64_t step, C* of_positions, C* buffer) const {
    if (step == 1 && s() == nullptr) return spread(numbers, buffer);
    multiply(numbers, step, s(), count, of_positions);
    return spread(of_positions, buffer);
  }
  const C* factors(const Grad<C>& grad, C* of_positions, C* buffer) const {
    return weighted(grad.numbers + position * grad.step, grad.step, of_positions, buffer);
  }

  // sums_p += factor weight s_p sum_j x_pj y_pj, of another of the term's tensors
  void add_products_with(const void* other, double factor, double* sums) const {
    const T *x = at<T>(part.x, 0), *y = at<T>(other, 0);
    with_weights(factor, [&](auto weight) {
      if (size == 1) return add_products(x, y, count, weight, sums);
      for (int64_t i = 0; i < count; ++i)
        sums[i] += weight(i) * dot(x + i * size, y + i * size, size);
    });
  }
};

template <class T>
struct Rows {
  using C = Compute<T>;

  const RowsList& list;
  const bool pixels = list.inner > 1;
  std::vector<Term> samples;  // (terms, positions), of those with samples of many elements
  std::vector<Term> in_runs;  // the other terms
  int64_t length, step;       // positions that are side by side, and of a strip
  int64_t strips;

  explicit Rows(const RowsList& list) : list(list) {
    int64_t largest = 1;
    for (Term term : list.terms) {
      const auto s = static_cast<const C*>(term.sample_weight);
      const auto a = static_cast<const C*>(term.sample_a);
      if (list.normalize && s) {
        const double total = sum_of_all(s, list.outer);
        term.weight *= list.outer / (total == 0 ? 1 : total);
      }
      if (pixels || term.n <= kStretch) {
        in_runs.push_back(term);
        if (!pixels) largest = std::max(largest, term.n);
        continue;
      }
      for (int64_t p = 0; p < list.outer; ++p) {
        samples.push_back(part(term, p * term.n, term.n));
        if (s) samples.back().weight *= s[p];
        if (a) samples.back().a = a[p];
      }
    }
    length = pixels ? list.inner : list.outer;
    step = kStretch / largest;
    strips = list.positions() / length * ((length + step - 1) / step);
  }

  // n elements of a term from `begin` on.
  static Term part(Term term, int64_t begin, int64_t n) {
    term.n = n;
    for (const void* Term::* of : {&Term::x, &Term::y, &Term::vx, &Term::vy})
      term.*of = at<T>(term.*of, begin);
    term.dx = at<T>(term.dx, begin);
    term.dy = at<T>(term.dy, begin);
    return term;
  }

  // Calls body(sample, position, begin, n) for the tiles of all samples; returns the sum of what it
  // returns for each.
  template <class Body>
  std::vector<double> sum_samples(Body body) const {
    return sum_terms(std::span(samples),
                     [&](const Term& sample, int64_t begin, int64_t n, int64_t) {
                       return body(sample, (&sample - samples.data()) % list.outer, begin, n);
                     });
  }

  // Calls body(strip) for strips of all positions; they end with their image.
  template <class Body>
  void for_each_strip(Body body) const {
    int64_t elements = 1;
    for (const Term& term : in_runs) elements += term.n;
    const int64_t of_image = (length + step - 1) / step;
    const int64_t grain = std::max<int64_t>(1, kGrain * kTile / (step * elements));
    at::parallel_for(0, strips, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i % of_image * step;
        body(Strip{i, i / of_image * length + begin, std::min(step, length - begin)});
      }
    });
  }

  // Calls body(run) for the runs of a strip.
  template <class Body>
  void for_each_run(const Strip& strip, Body body) const {
    const auto [index, position, count] = strip;
    for (const Term& term : in_runs) {
      if (!pixels) {
        body(Run<T>{part(term, position * term.n, count * term.n), position, count, term.n});
        continue;
      }
      int64_t begin = position / length * term.n * length + position % length;
      for (int64_t channel = 0; channel < term.n; ++channel, begin += length)
        body(Run<T>{part(term, begin, count), position, count, 1});
    }
  }

  // Calls finish(strip, sums) for all positions, with the sums over their terms: of what
  // of_tile(sample, position, begin, n) returns for tiles of samples, and of what add(run, sums)
  // adds for runs.
  template <class OfTile, class Add, class Finish>
  void sum(OfTile of_tile, Add add, Finish finish) const {
    const std::vector<double> of_samples = sum_samples(of_tile);
    for_each_strip([&](const Strip& strip) {
      double sums[kStretch];
      std::fill_n(sums, strip.count, 0.0);
      for (size_t first = strip.position; first < of_samples.size(); first += list.outer)
        for (int64_t i = 0; i < strip.count; ++i) sums[i] += of_samples[first + i];
      for_each_run(strip, [&](const Run<T>& run) { add(run, sums); });
      finish(strip, sums);
    });
  }

  // Calls of_tile(sample, position, begin, n) and of_run(run, q) where a gradient is wanted, with
  // q_p s_p for each element of a run.
  template <class OfTile, class OfRun>
  void write(const Grad<C>& grad, OfTile of_tile, OfRun of_run) const {
    sum_samples([&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
      if (sample.dx || sample.dy) of_tile(sample, p, begin, n);
      return 0.0;
    });
    if (in_runs.empty()) return;
    for_each_strip([&](const Strip& strip) {
      for_each_run(strip, [&](const Run<T>& run) {
        C of_positions[kStretch], buffer[kStretch];
        if (run.part.dx || run.part.dy) of_run(run, run.factors(grad, of_positions, buffer));
      });
    });
  }
};

// The second gradient of the mean of phi(s_p), for sums of squares s_p.
template <class T>
void phi_double_backward(const RowsList& list, const RowsGrad& of_result, Compute<T>* dgrad) {
  using C = Compute<T>;
  const Rows<T> rows(list);
  const auto grad = Grad<C>::of(of_result);
  const C* const second = grad.numbers + list.positions();
  std::vector<C> qt(list.positions());  // result''_p t_p
  std::vector<double> partial(rows.strips);
  rows.sum(
      [](const Term& sample, int64_t, int64_t begin, int64_t n) {
        if (!sample.vx) return 0.0;
        return 2 * sample.weight * dot(at<T>(sample.x, begin), at<T>(sample.vx, begin), n);
      },
      [](const Run<T>& run, double* t) {
        if (run.part.vx) run.add_products_with(run.part.vx, 2, t);
      },
      [&](const Strip& strip, const double* t) {
        for (int64_t i = 0; i < strip.count; ++i) {
          const int64_t p = strip.position + i;
          partial[strip.index] += grad.numbers[p] * t[i];
          qt[p] = second[p] * t[i];
        }
      });
  *dgrad = pairwise_sum(partial.data(), partial.size());
  rows.write(
      grad,
      [&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
        C buffer[kTile];
        const double factor = 2 * sample.weight * grad.outer;
        combine(at<T>(sample.x, begin), cotangents<T, none>(sample, begin, n, buffer), n,
                Constant<C>{C(factor * grad.numbers[p])}, Constant<C>{C(factor * qt[p])},
                at<T>(sample.dx, begin));
      },
      [&](const Run<T>& run, const C* q) {
        const int64_t n = run.part.n;
        C of_positions[kStretch], flat[kStretch], buffer[kStretch];
        const C* of_t = run.weighted(&qt[run.position], 1, of_positions, flat);
        const C factor = 2 * run.part.weight * grad.outer;
        combine(at<T>(run.part.x, 0), cotangents<T, none>(run.part, 0, n, buffer), n,
                Each<C, C>{factor, q}, Each<C, C>{factor, of_t}, at<T>(run.part.dx, 0));
      });
}

}  // namespace

void rows_forward(const RowsList& list, const RowsPhi& phi, void* result_, void* derivatives_) {
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const Rows<T> rows(list);
    const auto result = static_cast<C*>(result_), derivatives = static_cast<C*>(derivatives_);
    const int64_t count = list.positions();
    const double weight = phi.weight / count;
    std::vector<double> partial(derivatives ? rows.strips : 0);
    rows.sum([](const Term& sample, int64_t, int64_t begin,
                int64_t n) { return sample.weight * sum_of_values<F, T, kind>(sample, begin, n); },
             [](const Run<T>& run, double* sums) {
               const Term& part = run.part;
               if (is_square<F, kind>(part) && !part.sample_a)
                 return run.add_products_with(part.x, 1, sums);
               C a[kStretch], y[kStretch];
               with_difference<T, kind>(part, 0, part.n, [&](auto d) {
                 values_of_run(d, part.n, functor_of<F>(part), run.a(a), y);
               });
               run.with_weights(
                   1, [&](auto weight) { add_rows(y, weight, run.count, run.size, sums); });
             },
             [&](const Strip& strip, const double* sums) {
               if (!derivatives) return convert(sums, result + strip.position, strip.count);
               if constexpr (std::is_same_v<F, Square<C>>)  // the only one with a phi
                 with_phi(phi.phi, [&]<template <class> class P>() {
                   const P<double> functor{phi.a, phi.b};
                   C* const first = derivatives + strip.position;
                   for (int64_t i = 0; i < strip.count; ++i) {
                     const Orders<double> orders = functor(sums[i]);
                     partial[strip.index] += weight * orders.f;
                     first[i] = weight * orders.df;
                     first[count + i] = weight * orders.d2f;
                   }
                 });
             });
    if (derivatives) *result = pairwise_sum(partial.data(), partial.size());
  });
}

void rows_backward(const RowsList& list, const RowsGrad& of_result) {
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const auto grad = Grad<C>::of(of_result);
    Rows<T>(list).write(
        grad,
        [&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
          write_both<T, T, kind>(
              sample, begin, n, C(sample.weight * grad.q(p)),
              [&](T* to, C factor) { write_slopes_of<F, T, kind>(sample, begin, n, factor, to); });
        },
        [&](const Run<T>& run, const C* q) {
          const Term& part = run.part;
          C a[kStretch];
          write_both<T, T, kind>(
              part, 0, part.n, C(part.weight * grad.outer), [&](T* to, C factor) {
                with_difference<T, kind>(part, 0, part.n, [&](auto d) {
                  slopes_of_run(d, part.n, functor_of<F>(part), run.a(a), factor, q, to);
                });
              });
        });
  });
}

void rows_double_backward(const RowsList& list, const RowsGrad& of_result, void* dgrad) {
  if (of_result.derivatives) {
    return with_dtype(list.dtype, [&]<class T>() {
      phi_double_backward<T>(list, of_result, static_cast<Compute<T>*>(dgrad));
    });
  }
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const auto grad = Grad<C>::of(of_result);
    Rows<T>(list).sum(
        [&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
          double sum = 0;
          write_both<T, T, kind>(
              sample, begin, n, C(sample.weight * grad.q(p)), [&](T* to, C factor) {
                sum = write_curvatures_of<F, T, kind>(sample, begin, n, factor, to);
              });
          return sample.weight * sum;
        },
        [&](const Run<T>& run, double* sums) {
          const Term& part = run.part;
          C of_positions[kStretch], flat[kStretch], buffer[kStretch], a[kStretch], y[kStretch];
          const C* q = run.factors(grad, of_positions, flat);
          const C* u = cotangents<T, kind>(part, 0, part.n, buffer);
          write_both<T, T, kind>(part, 0, part.n, C(part.weight), [&](T* to, C factor) {
            with_difference<T, kind>(part, 0, part.n, [&](auto d) {
              curvatures_of_run(d, u, part.n, functor_of<F>(part), run.a(a), factor, q, to, y);
            });
          });
          run.with_weights(1, [&](auto weight) { add_rows(y, weight, run.count, run.size, sums); });
        },
        [&](const Strip& strip, const double* sums) {
          convert(sums, static_cast<C*>(dgrad) + strip.position, strip.count);
        });
  });
}

}  // namespace ganfast::cpu

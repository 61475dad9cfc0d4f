// s_p = sum_k w_k s_kp mean_j f(x_kpj - y_kpj), functions of it and their two derivatives on the
// CPU.
//
// A position with several elements that follow one another is a term of flat, with a weight and an
// a of its own. Where a position has one element, or one in each channel as pixels do, loops run
// over the positions.
#include "../ops/rows.h"

#include <array>

#include "terms.h"

namespace ganfast::cpu {
namespace {

// sums_i += weight s_i f(d_i), for n up to kStretch; f by itself, as it has other lanes than sums
template <class F, class D, class C>
GANFAST_SIMD void add_values(D d, int64_t n, F functor, double weight, const C* s, double* sums) {
  C values[kStretch];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) values[i] = functor.f(d(i));
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += weight * s[i] * values[i];
}

// sums_i += weight s_i x_i y_i
template <class T, class C>
GANFAST_SIMD void add_products(const T* x, const T* y, int64_t n, double weight, const C* s,
                               double* sums) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    sums[i] += weight * s[i] * (double(load(x[i])) * double(load(y[i])));
}

// to_i = factor_i u_i f''(d_i); sums_i += weight s_i u_i f'(d_i)
template <class F, class D, class C, class To>
GANFAST_SIMD void write_curvatures_of_each(D d, const C* u, int64_t n, F functor, Each<C> factor,
                                           To* to, double weight, const C* s, double* sums) {
  C slopes[kStretch];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const C di = d(i);
    store(to[i], factor(i) * u[i] * functor.d2f(di));
    slopes[i] = u[i] * functor.df(di);
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += weight * s[i] * slopes[i];
}

// to_i = p_i u_i + q_i x_i
template <class T, class C, class Factor>
GANFAST_SIMD void combine(const T* x, const C* u, int64_t n, Factor p, Factor q, T* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], p(i) * u[i] + q(i) * load(x[i]));
}

// to_i = numbers_i s_i, where the numbers are `step` apart, 0 or 1
template <class C>
GANFAST_SIMD void multiply(const C* numbers, int64_t step, const C* s, int64_t n, C* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = (step == 0 ? *numbers : numbers[i]) * s[i];
}

// RowsGrad with its type.
template <class C>
struct Grad {
  const C* data;
  int64_t step;
  const C* derivatives;

  explicit Grad(const RowsGrad& grad)
      : data(static_cast<const C*>(grad.grad)),
        step(grad.step),
        derivatives(static_cast<const C*>(grad.derivatives)) {}

  double q(int64_t p) const {
    return derivatives ? double(*data) * derivatives[p] : double(data[p * step]);
  }
};

// Up to kStretch positions, of one image where there are pixels.
struct Strip {
  int64_t index, position, n;
};

template <class T>
struct Rows {
  using C = Compute<T>;

  const RowsList& list;
  const int64_t length = list.inner > 1 ? list.inner : list.outer;  // positions side by side
  const int64_t strips_of_image = (length + kStretch - 1) / kStretch;
  const int64_t strips = list.positions() / length * strips_of_image;
  std::vector<Term> samples;     // (terms, positions), of those with samples of several elements
  std::vector<Term> by_element;  // the others

  explicit Rows(const RowsList& list) : list(list) {
    for (Term term : list.terms) {
      const auto s = static_cast<const C*>(term.sample_weight);
      const auto a = static_cast<const C*>(term.sample_a);
      if (list.normalize && s) {
        double total = 0;
        for (int64_t begin = 0; begin < list.outer; begin += kTile)
          total += sum_of(s + begin, std::min(kTile, list.outer - begin));
        term.weight *= list.outer / (total == 0 ? 1 : total);
      }
      if (list.inner > 1 || (term.n == 1 && !a)) {
        by_element.push_back(term);
        continue;
      }
      samples.reserve(list.terms.size() * list.outer);
      for (int64_t p = 0; p < list.outer; ++p) {
        samples.push_back(part(term, p * term.n, term.n));
        if (s) samples.back().weight *= s[p];
        if (a) samples.back().a = a[p];
      }
    }
  }

  // n elements of a term from `begin` on.
  static Term part(const Term& term, int64_t begin, int64_t n) {
    Term part = term;
    part.n = n;
    for (const void* Term::* of : {&Term::x, &Term::y, &Term::vx, &Term::vy})
      part.*of = at<T>(term.*of, begin);
    part.dx = at<T>(term.dx, begin);
    part.dy = at<T>(term.dy, begin);
    return part;
  }

  // Calls body(sample, position, begin, n) for the tiles of all samples.
  template <class Body>
  void for_each_sample(Body body) const {
    const std::span all(samples);
    for_each_tile(all, count_tiles(all),
                  [&](const Term& sample, int64_t begin, int64_t n, int64_t) {
                    body(sample, (&sample - samples.data()) % list.outer, begin, n);
                  });
  }

  template <class Body>
  void for_each_strip(Body body) const {
    int64_t elements = 1;
    for (const Term& term : by_element) elements += term.n;
    const int64_t grain = std::max<int64_t>(1, kGrain * kTile / kStretch / elements);
    at::parallel_for(0, strips, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i % strips_of_image * kStretch;
        body(Strip{i, i / strips_of_image * length + begin, std::min(kStretch, length - begin)});
      }
    });
  }

  // Calls body(part) for each channel of a term's positions.
  template <class Body>
  void for_each_channel(const Term& term, const Strip& strip, Body body) const {
    const int64_t image = strip.position / length;
    int64_t begin = image * term.n * length + strip.position % length;
    for (int64_t channel = 0; channel < term.n; ++channel, begin += length)
      body(part(term, begin, strip.n));
  }

  // The numbers s of a term's positions.
  static const C* weights_of(const Term& term, const Strip& strip) {
    static const auto ones = [] {
      std::array<C, kStretch> numbers;
      numbers.fill(1);
      return numbers;
    }();
    return term.sample_weight ? at<C>(term.sample_weight, strip.position) : ones.data();
  }

  // factor_p = q_p s_kp of a term's positions
  static void factors_of(const Term& term, const Strip& strip, const Grad<C>& grad, C* factors) {
    const C* s = weights_of(term, strip);
    if (!grad.derivatives)
      return multiply(grad.data + strip.position * grad.step, grad.step, s, strip.n, factors);
    multiply(grad.derivatives + strip.position, 1, s, strip.n, factors);
    multiply(grad.data, 0, factors, strip.n, factors);
  }

  // Calls finish(strip, sums) for all positions, with the sums over their terms: of what
  // of_tile(sample, position, begin, n) returns for the tiles of samples, and of what
  // add(part, term, strip, sums) adds for positions that are taken by element.
  template <class OfTile, class Add, class Finish>
  void sum(OfTile of_tile, Add add, Finish finish) const {
    const std::vector<double> of_samples =
        sum_terms(std::span(samples), [&](const Term& sample, int64_t begin, int64_t n, int64_t) {
          return of_tile(sample, (&sample - samples.data()) % list.outer, begin, n);
        });
    for_each_strip([&](const Strip& strip) {
      double sums[kStretch] = {};
      for (size_t first = strip.position; first < of_samples.size(); first += list.outer)
        for (int64_t i = 0; i < strip.n; ++i) sums[i] += of_samples[first + i];
      for (const Term& term : by_element)
        for_each_channel(term, strip, [&](const Term& part) { add(part, term, strip, sums); });
      finish(strip, sums);
    });
  }
};

// sum of weight phi(s_p), whose derivatives in each s_p it writes, of n numbers
template <class C>
double write_phi(const RowsPhi& phi, double weight, const double* s, int64_t n, C* first,
                 C* second) {
  double sum = 0;
  with_phi(phi.phi, [&]<template <class> class Functor>() {
    const Functor<double> functor{phi.a, phi.b};
    for (int64_t i = 0; i < n; ++i) {
      const Orders<double> orders = functor(s[i]);
      sum += weight * orders.f;
      first[i] = weight * orders.df;
      second[i] = weight * orders.d2f;
    }
  });
  return sum;
}

// The second gradient of the mean of phi(s_p), for sums of squares s_p.
template <class T>
void phi_double_backward(const RowsList& list, const Grad<Compute<T>>& grad, Compute<T>* dgrad) {
  using C = Compute<T>;
  const Rows<T> rows(list);
  const C *const first = grad.derivatives, *const second = first + list.positions();
  std::vector<C> q(list.positions());
  std::vector<double> partial(rows.strips);
  rows.sum(
      [](const Term& sample, int64_t, int64_t begin, int64_t n) {
        if (!sample.vx) return 0.0;
        return 2 * sample.weight * dot(at<T>(sample.x, begin), at<T>(sample.vx, begin), n);
      },
      [](const Term& part, const Term& term, const Strip& strip, double* sums) {
        if (!part.vx) return;
        add_products(at<T>(part.x, 0), at<T>(part.vx, 0), part.n, 2 * term.weight,
                     Rows<T>::weights_of(term, strip), sums);
      },
      [&](const Strip& strip, const double* t) {
        for (int64_t i = 0; i < strip.n; ++i) {
          const int64_t p = strip.position + i;
          partial[strip.index] += first[p] * t[i];
          q[p] = *grad.data * (second[p] * t[i]);
        }
      });
  *dgrad = pairwise_sum(partial.data(), partial.size());
  rows.for_each_sample([&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
    if (!sample.dx) return;
    C buffer[kTile];
    const C* u = cotangents<T, none>(sample, begin, n, buffer);
    combine(at<T>(sample.x, begin), u, n, Constant<C>{C(2 * sample.weight * grad.q(p))},
            Constant<C>{C(2 * sample.weight * q[p])}, at<T>(sample.dx, begin));
  });
  rows.for_each_strip([&](const Strip& strip) {
    for (const Term& term : rows.by_element) {
      if (!term.dx) continue;
      C p[kStretch], of_t[kStretch], buffer[kStretch];
      const C factor = 2 * term.weight;
      Rows<T>::factors_of(term, strip, grad, p);
      multiply(&q[strip.position], 1, Rows<T>::weights_of(term, strip), strip.n, of_t);
      rows.for_each_channel(term, strip, [&](const Term& part) {
        combine(at<T>(part.x, 0), cotangents<T, none>(part, 0, part.n, buffer), part.n,
                Each<C>{factor, p}, Each<C>{factor, of_t}, at<T>(part.dx, 0));
      });
    }
  });
}

}  // namespace

void rows_forward(const RowsList& list, const RowsPhi& phi, void* result_, void* derivatives_) {
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const Rows<T> rows(list);
    const auto result = static_cast<C*>(result_), derivatives = static_cast<C*>(derivatives_);
    const int64_t count = list.positions();
    std::vector<double> partial(derivatives ? rows.strips : 0);
    rows.sum([](const Term& sample, int64_t, int64_t begin,
                int64_t n) { return sample.weight * sum_of_values<F, T, kind>(sample, begin, n); },
             [](const Term& part, const Term& term, const Strip& strip, double* sums) {
               const C* s = Rows<T>::weights_of(term, strip);
               const T* x = at<T>(part.x, 0);
               if (is_square<F, kind>(part))
                 return add_products(x, x, part.n, term.weight, s, sums);
               with_difference<T, kind>(part, 0, part.n, [&](auto d) {
                 add_values(d, part.n, functor_of<F>(part), term.weight, s, sums);
               });
             },
             [&](const Strip& strip, const double* sums) {
               if (!derivatives) return convert(sums, result + strip.position, strip.n);
               C* const first = derivatives + strip.position;
               partial[strip.index] =
                   write_phi(phi, phi.weight / count, sums, strip.n, first, first + count);
             });
    if (derivatives) *result = pairwise_sum(partial.data(), partial.size());
  });
}

void rows_backward(const RowsList& list, const RowsGrad& grad_) {
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const Rows<T> rows(list);
    const Grad<C> grad(grad_);
    const auto write = [](const Term& part, int64_t begin, int64_t n, C factor, auto factors) {
      write_both<T, T, kind>(part, begin, n, factor, [&](T* to, C factor) {
        with_difference<T, kind>(part, begin, n, [&](auto d) {
          write_slopes(d, n, functor_of<F>(part), factors(factor), to);
        });
      });
    };
    rows.for_each_sample([&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
      if (!sample.dx && !sample.dy) return;
      write(sample, begin, n, C(sample.weight * grad.q(p)),
            [](C factor) { return Constant<C>{factor}; });
    });
    rows.for_each_strip([&](const Strip& strip) {
      for (const Term& term : rows.by_element) {
        if (!term.dx && !term.dy) continue;
        C q[kStretch];
        Rows<T>::factors_of(term, strip, grad, q);
        rows.for_each_channel(term, strip, [&](const Term& part) {
          write(part, 0, part.n, C(term.weight), [&](C factor) { return Each<C>{factor, q}; });
        });
      }
    });
  });
}

void rows_double_backward(const RowsList& list, const RowsGrad& grad_, void* dgrad) {
  if (grad_.derivatives) {
    return with_dtype(list.dtype, [&]<class T>() {
      using C = Compute<T>;
      phi_double_backward<T>(list, Grad<C>(grad_), static_cast<C*>(dgrad));
    });
  }
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const Rows<T> rows(list);
    const Grad<C> grad(grad_);
    const auto write = [](const Term& part, int64_t begin, int64_t n, C factor, auto loop) {
      C buffer[kTile];
      const C* u = cotangents<T, kind>(part, begin, n, buffer);
      write_both<T, T, kind>(part, begin, n, factor, [&](T* to, C factor) {
        with_difference<T, kind>(part, begin, n,
                                 [&](auto d) { loop(d, u, functor_of<F>(part), factor, to); });
      });
    };
    rows.sum(
        [&](const Term& sample, int64_t p, int64_t begin, int64_t n) {
          double sum = 0;
          write(sample, begin, n, C(sample.weight * grad.q(p)),
                [&](auto d, const C* u, F f, C factor, T* to) {
                  sum = write_curvatures(d, u, n, f, factor, to);
                });
          return sample.weight * sum;
        },
        [&](const Term& part, const Term& term, const Strip& strip, double* sums) {
          C q[kStretch];
          Rows<T>::factors_of(term, strip, grad, q);
          write(part, 0, part.n, C(term.weight), [&](auto d, const C* u, F f, C factor, T* to) {
            write_curvatures_of_each(d, u, part.n, f, Each<C>{factor, q}, to, term.weight,
                                     Rows<T>::weights_of(term, strip), sums);
          });
        },
        [&](const Strip& strip, const double* sums) {
          convert(sums, static_cast<C*>(dgrad) + strip.position, strip.n);
        });
  });
}

}  // namespace ganfast::cpu

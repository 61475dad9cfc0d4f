// s_p = sum_k w_k s_kp mean_j f(x_kpj - y_kpj), functions of it and their two derivatives on the
// CPU.
//
// Positions are taken in runs of up to kStretch elements, over which f is one flat loop however
// small a sample is; a second loop adds up each position's part. Of pixels, a run is a stretch of
// one channel. A sample of more elements is taken in tiles, as a term with a weight and an a of its
// own.
#include "../ops/rows.h"

#include "terms.h"

namespace ganfast::cpu {
namespace {

// sums_i += weight s_i sum_j y_ij, where s may be null for ones
template <class C>
GANFAST_SIMD void add_rows(const C* y, const C* s, double weight, int64_t count, int64_t size,
                           double* sums) {
  if (size > 1) {
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < size; ++j) sum += y[i * size + j];
      sums[i] += weight * (s == nullptr ? 1 : s[i]) * sum;
    }
  } else if (s == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * y[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * s[i] * y[i];
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

// sums_i += weight x_i y_i
template <class T>
GANFAST_SIMD void add_products(const T* x, const T* y, int64_t n, double weight, double* sums) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += weight * (double(load(x[i])) * double(load(y[i])));
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
  const C* numbers;
  int64_t step;
  C outer;

  explicit Grad(const RowsGrad& grad)
      : numbers(static_cast<const C*>(grad.grad)), step(grad.step), outer(1) {
    if (grad.derivatives == nullptr) return;
    outer = *numbers;
    numbers = static_cast<const C*>(grad.derivatives);
    step = 1;
  }

  double q(int64_t p) const { return double(outer) * numbers[p * step]; }
};

// `count` positions from `position` on.
struct Strip {
  int64_t index, position, count;
};

// The elements of a strip in a term, `size` of each position, or one in a channel of pixels; or a
// tile of one sample, whose term has the sample's own weight and a.
template <class T>
struct Run {
  using C = Compute<T>;

  Term part;
  int64_t position, count, size;
  bool tile = false;

  const C* s() const { return at<C>(part.sample_weight, position); }
  const C* a(C* buffer) const { return spread(at<C>(part.sample_a, position), buffer); }

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

  // The factor of gradients for all elements, and where it is not all, q_p s_p for each element.
  C scale(const Grad<C>& grad) const {
    return tile ? part.weight * grad.q(position) : part.weight * grad.outer;
  }
  const C* factors(const Grad<C>& grad, C* of_positions, C* buffer) const {
    return weighted(grad.numbers + position * grad.step, grad.step, of_positions, buffer);
  }
  // Calls body(functors, factors) for the elements of a strip.
  template <class F, class Body>
  void with_each(F f, const EachFactor<C>& factor, Body body) const {
    C buffer[kStretch];
    const C* own = a(buffer);
    own ? body(EachFunctor<F, C>{own, f.b}, factor) : body(All<F>{f}, factor);
  }

  // sums_p += factor weight s_p sum_j x_pj y_pj, of another of the term's tensors
  void add_products_with(const void* other, double factor, double* sums) const {
    const T *x = at<T>(part.x, 0), *y = at<T>(other, 0);
    factor *= part.weight;
    if (size == 1 && s() == nullptr) return add_products(x, y, count, factor, sums);
    for (int64_t i = 0; i < count; ++i)
      sums[i] += factor * (s() ? s()[i] : 1) * dot(x + i * size, y + i * size, size);
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
        double total = 0;
        for (int64_t begin = 0; begin < list.outer; begin += kTile)
          total += sum_of(s + begin, std::min(kTile, list.outer - begin));
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

  // Calls body(run) for the tiles of all samples; returns the sums of what it returns.
  template <class Body>
  std::vector<double> sum_samples(Body body) const {
    return sum_terms(samples, [&](const Term& sample, int64_t begin, int64_t n, int64_t) {
      const int64_t position = (&sample - samples.data()) % list.outer;
      return body(Run<T>{part(sample, begin, n), position, 1, n, true});
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

  // Calls finish(strip, sums) for all positions, with the sums of what add(run, sums) adds for all
  // runs.
  template <class Add, class Finish>
  void sum(Add add, Finish finish) const {
    const std::vector<double> of_samples = sum_samples([&](const Run<T>& run) {
      double sum = 0;
      add(run, &sum);
      return sum;
    });
    for_each_strip([&](const Strip& strip) {
      double sums[kStretch];
      std::fill_n(sums, strip.count, 0.0);
      for (size_t first = strip.position; first < of_samples.size(); first += list.outer)
        for (int64_t i = 0; i < strip.count; ++i) sums[i] += of_samples[first + i];
      for_each_run(strip, [&](const Run<T>& run) { add(run, sums); });
      finish(strip, sums);
    });
  }

  // Calls write(run) for all runs in which a gradient is wanted.
  template <class Write>
  void for_each_wanted(Write write) const {
    const auto of_run = [&](const Run<T>& run) {
      if (run.part.dx || run.part.dy) write(run);
      return 0.0;
    };
    sum_samples(of_run);
    if (in_runs.empty()) return;
    for_each_strip([&](const Strip& strip) { for_each_run(strip, of_run); });
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
void phi_double_backward(const RowsList& list, const RowsGrad& of_result, Compute<T>* dgrad) {
  using C = Compute<T>;
  const Rows<T> rows(list);
  const Grad<C> grad(of_result);
  const C* const second = grad.numbers + list.positions();
  std::vector<C> qt(list.positions());  // result''_p t_p
  std::vector<double> partial(rows.strips);
  rows.sum(
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
  rows.for_each_wanted([&](const Run<T>& run) {
    const int64_t n = run.part.n, p = run.position;
    C buffer[kTile], of_positions[2][kStretch], of_elements[2][kStretch];
    const T* x = at<T>(run.part.x, 0);
    const C* u = cotangents<T, none>(run.part, 0, n, buffer);
    const double factor = 2 * run.part.weight * grad.outer;
    T* const dx = at<T>(run.part.dx, 0);
    if (run.tile) {
      return combine(x, u, n, All<C>{C(factor * grad.numbers[p])}, All<C>{C(factor * qt[p])}, dx);
    }
    const C* q = run.factors(grad, of_positions[0], of_elements[0]);
    const C* t = run.weighted(&qt[p], 1, of_positions[1], of_elements[1]);
    combine(x, u, n, EachFactor<C>{C(factor), q}, EachFactor<C>{C(factor), t}, dx);
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
    rows.sum(
        [](const Run<T>& run, double* sums) {
          const Term& part = run.part;
          if (run.tile) {
            *sums += part.weight * sum_of_values<F, T, kind>(part, 0, part.n);
            return;
          }
          if (is_square<F, kind>(part) && !part.sample_a)
            return run.add_products_with(part.x, 1, sums);
          C y[kStretch];
          with_difference<T, kind>(part, 0, part.n, [&](auto d) {
            run.with_each(functor_of<F>(part), {},
                          [&](auto f, auto) { write_values(d, part.n, f, y); });
          });
          add_rows(y, run.s(), part.weight, run.count, run.size, sums);
        },
        [&](const Strip& strip, const double* sums) {
          if (!derivatives) return convert(sums, result + strip.position, strip.count);
          C* const first = derivatives + strip.position;
          partial[strip.index] =
              write_phi(phi, phi.weight / count, sums, strip.count, first, first + count);
        });
    if (derivatives) *result = pairwise_sum(partial.data(), partial.size());
  });
}

void rows_backward(const RowsList& list, const RowsGrad& of_result) {
  with_list<false>(list, [&]<class F, class T, Subtrahend kind>() {
    using C = Compute<T>;
    const Grad<C> grad(of_result);
    Rows<T>(list).for_each_wanted([&](const Run<T>& run) {
      const Term& part = run.part;
      const F functor = functor_of<F>(part);
      write_both<T, T, kind>(part, 0, part.n, run.scale(grad), [&](T* to, C scale) {
        with_difference<T, kind>(part, 0, part.n, [&](auto d) {
          const auto write = [&](auto f, auto factor) { write_slopes(d, part.n, f, factor, to); };
          if (run.tile) return write(All<F>{functor}, All<C>{scale});
          C of_positions[kStretch], q[kStretch];
          run.with_each(functor, {scale, run.factors(grad, of_positions, q)}, write);
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
    const Grad<C> grad(of_result);
    Rows<T>(list).sum(
        [&](const Run<T>& run, double* sums) {
          const Term& part = run.part;
          const F functor = functor_of<F>(part);
          C buffer[kTile];
          const C* u = cotangents<T, kind>(part, 0, part.n, buffer);
          write_both<T, T, kind>(part, 0, part.n, run.scale(grad), [&](T* to, C scale) {
            with_difference<T, kind>(part, 0, part.n, [&](auto d) {
              if (run.tile) {
                *sums += part.weight * sum_curvatures(d, u, part.n, functor, scale, to);
                return;
              }
              C of_positions[kStretch], q[kStretch], y[kStretch];
              run.with_each(
                  functor, {scale, run.factors(grad, of_positions, q)},
                  [&](auto f, auto factor) { write_curvatures(d, u, part.n, f, factor, to, y); });
              add_rows(y, run.s(), part.weight, run.count, run.size, sums);
            });
          });
        },
        [&](const Strip& strip, const double* sums) {
          convert(sums, static_cast<C*>(dgrad) + strip.position, strip.count);
        });
  });
}

}  // namespace ganfast::cpu

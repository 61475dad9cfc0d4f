// s_p = sum_k w_k s_kp mean_j f(x_kpj - y_kpj), functions of it and their two derivatives on the
// CPU.
//
// Positions are taken in runs of up to kStretch elements, over which f is one flat loop however
// small a sample is; a second loop adds up each position's part. Samples of more elements are cut
// into tiles. Of pixels, a run is a stretch of one channel.
#include "../ops/rows.h"

#include "difference.h"

namespace ganfast::cpu {
namespace {

// `count` positions from `position` on, each with `size` elements that follow one another from
// `offset` on in the term's memory; of pixels, with one element in each of several channels, which
// are `step` apart.
struct Run {
  const RowsTerm* term;
  int64_t position, count, offset, size;
  int64_t channels = 1, step = 0;

  int64_t n() const { return count * size; }

  template <class T>
  T* of(T* tensor) const {
    return at(tensor, offset);
  }

  // Calls body(run) for the run of each channel.
  template <class Body>
  void for_each_channel(Body body) const {
    Run run = *this;
    for (int64_t channel = 0; channel < channels; ++channel, run.offset += step) body(run);
  }

  // Numbers of the run's positions, or null.
  template <class C>
  const C* of_positions(const void* numbers) const {
    return at(static_cast<const C*>(numbers), position);
  }
};

template <class C>
struct Constant {
  C number;
  GANFAST_HD C operator()(int64_t) const { return number; }
};

template <class C>
struct Each {
  const C* numbers;
  GANFAST_HD C operator()(int64_t i) const { return numbers[i]; }
};

// Each position's number for each of its elements. `flat` holds them where a position has several.
template <class C>
const C* spread(const C* numbers, const Run& run, C* flat) {
  if (run.size == 1 || numbers == nullptr) return numbers;
  for (int64_t i = 0; i < run.count; ++i) std::fill_n(flat + i * run.size, run.size, numbers[i]);
  return flat;
}

// y_i = f(d_i; a_i, b), or with the functor's own a where a is null
template <class F, class D, class C>
GANFAST_SIMD void values(D d, const C* a, int64_t n, F functor, C* y) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = functor.f(d(i));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = F{a[i], functor.b}.f(d(i));
}

// to_i = scale_i f'(d_i)
template <class F, class D, class Scale, class C>
GANFAST_SIMD void write_slopes(D d, const C* a, Scale scale, int64_t n, F functor, C* to) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = scale(i) * functor.df(d(i));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = scale(i) * F{a[i], functor.b}.df(d(i));
}

// y_i = u_i f'(d_i)
template <class F, class D, class C>
GANFAST_SIMD void slopes(D d, const C* u, const C* a, int64_t n, F functor, C* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = u[i] * F{a ? a[i] : functor.a, functor.b}.df(d(i));
}

// to_i = p_i u_i f''(d_i) + q_i f'(d_i)
template <class F, class D, class C, class Scale>
GANFAST_SIMD void write_curvatures(D d, const C* u, const C* a, Scale p, Scale q, int64_t n,
                                   F functor, C* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const F f{a ? a[i] : functor.a, functor.b};
    to[i] = p(i) * u[i] * f.d2f(d(i)) + q(i) * f.df(d(i));
  }
}

// sum of x_j y_j
template <class T>
GANFAST_SIMD double dot(const T* x, const T* y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += double(load(x[j])) * double(load(y[j]));
  return sum;
}

// sums_j += factor x_j y_j
template <class T>
GANFAST_SIMD void add_products(const T* x, const T* y, double factor, double* sums, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) sums[j] += factor * (double(load(x[j])) * double(load(y[j])));
}

// sums_i += weight s_i sum_j y_ij
template <class C>
GANFAST_SIMD void add_rows(const C* y, const C* sample_weight, double weight, int64_t count,
                           int64_t size, double* sums) {
  if (size == 1 && sample_weight == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * y[i];
    return;
  }
  if (size == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * sample_weight[i] * y[i];
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < size; ++j) sum += y[i * size + j];
    sums[i] += weight * (sample_weight == nullptr ? 1 : sample_weight[i]) * sum;
  }
}

// scale_i = grad_i weight s_i; the gradients are `step` apart, 0 or 1
template <class G, class C>
GANFAST_SIMD void scales(const G* grad, int64_t step, double weight, const C* sample_weight,
                         int64_t count, C* scale) {
  const double one = double(*grad) * weight;
  if (step == 0) std::fill_n(scale, count, static_cast<C>(one));
#pragma omp simd
  for (int64_t i = 0; i < step * count; ++i) scale[i] = grad[i] * weight;
  if (sample_weight == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) scale[i] *= sample_weight[i];
}

template <class C>
GANFAST_SIMD void multiply(const C* x, C* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= x[i];
}

// grad_p weight s_p for the positions of a run, whose gradients start at `grad`
template <class G, class C>
void scales(const G* grad, int64_t step, const Run& run, C* scale) {
  scales(grad, step, run.term->weight, run.of_positions<C>(run.term->sample_weight), run.count,
         scale);
}

// The same with q_p in place of grad_p
template <class C>
void scales_of(const Run& run, const RowsGrad& grad, C* scale) {
  scales(static_cast<const C*>(grad.grad) + run.position * grad.step, grad.step, run, scale);
  if (grad.derivatives) multiply(run.of_positions<C>(grad.derivatives), scale, run.count);
}

// The terms with what normalizes their sample weights in their weight.
template <class C>
std::vector<RowsTerm> normalized(const RowsList& list) {
  std::vector<RowsTerm> terms(list.terms.begin(), list.terms.end());
  for (RowsTerm& term : terms) {
    if (!list.normalize || term.sample_weight == nullptr) continue;
    const auto weights = static_cast<const C*>(term.sample_weight);
    double total = 0;
    for (int64_t begin = 0; begin < list.outer; begin += kTile)
      total += sum_of(weights + begin, std::min(kTile, list.outer - begin));
    term.weight *= list.outer / (total == 0 ? 1 : total);
  }
  return terms;
}

// One large sample of a term, as tiles.h wants it.
struct Sample {
  const RowsTerm* term;
  int64_t sample, n;
};

std::vector<Sample> large_samples(const RowsList& list, std::span<const RowsTerm> terms) {
  std::vector<Sample> large;
  for (const RowsTerm& term : terms) {
    if (term.size <= kStretch || list.inner > 1) continue;
    for (int64_t sample = 0; sample < list.outer; ++sample)
      large.push_back({&term, sample, term.size});
  }
  return large;
}

// Calls body(run) for the runs of a tile of a large sample.
template <class Body>
void for_each_run_of_tile(const Sample& sample, int64_t begin, int64_t size, Body body) {
  for (const int64_t end = begin + size; begin < end; begin += kStretch)
    body(Run{sample.term, sample.sample, 1, sample.sample * sample.n + begin,
             std::min(kStretch, end - begin)});
}

// Calls body(position, count, for_each) for stretches of positions, where for_each(use) calls
// use(run) for their run of each small term, or of pixels.
template <class Body>
void for_each_stretch(const RowsList& list, std::span<const RowsTerm> terms, Body body) {
  const bool pixels = list.inner > 1;
  int64_t largest = 1, total = 1;
  for (const RowsTerm& term : terms) {
    if (!pixels && term.size > kStretch) continue;
    largest = std::max(largest, pixels ? 1 : term.size);
    total += term.size;
  }
  // Of pixels, stretches end with their image.
  const int64_t length = pixels ? list.inner : list.outer, step = kStretch / largest;
  const int64_t of_image = (length + step - 1) / step, images = pixels ? list.outer : 1;
  const int64_t grain = std::max<int64_t>(1, kGrain * kTile / (step * total));
  at::parallel_for(0, images * of_image, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t image = i / of_image, begin = i % of_image * step;
      const int64_t position = image * length + begin, count = std::min(step, length - begin);
      body(position, count, [&](auto use) {
        for (const RowsTerm& term : terms) {
          if (pixels) {
            use(Run{&term, position, count, image * term.size * length + begin, 1, term.size,
                    length});
          } else if (term.size <= kStretch) {
            use(Run{&term, position, count, position * term.size, term.size});
          }
        }
      });
    }
  });
}

// Calls finish(position, count, sums) with the sums over all runs of what body(run, sums) adds to
// those of its positions.
template <class Body, class Finish>
void sum_rows(const RowsList& list, std::span<const RowsTerm> terms, Body body, Finish finish) {
  const std::vector<Sample> large = large_samples(list, terms);
  std::vector<double> of_large(large.empty() ? 0 : list.outer);
  if (!large.empty()) {
    const std::vector<double> sums = sum_terms(
        std::span<const Sample>(large),
        [&](const Sample& sample, int64_t begin, int64_t size, int64_t) {
          double sum = 0;
          for_each_run_of_tile(sample, begin, size, [&](const Run& run) { body(run, &sum); });
          return sum;
        });
    for (size_t i = 0; i < large.size(); ++i) of_large[large[i].sample] += sums[i];
  }
  for_each_stretch(list, terms, [&](int64_t position, int64_t count, auto for_each) {
    double sums[kStretch];
    if (of_large.empty()) {
      std::fill_n(sums, count, 0.0);
    } else {
      std::copy_n(&of_large[position], count, sums);
    }
    for_each([&](const Run& run) { body(run, sums); });
    finish(position, count, sums);
  });
}

// Calls body(run) for all runs.
template <class Body>
void for_each_run(const RowsList& list, std::span<const RowsTerm> terms, Body body) {
  const std::vector<Sample> large = large_samples(list, terms);
  const std::span<const Sample> all(large);
  for_each_tile(all, count_tiles(all),
                [&](const Sample& sample, int64_t begin, int64_t size, int64_t) {
                  for_each_run_of_tile(sample, begin, size, body);
                });
  if (large.size() == terms.size() * list.outer && list.inner == 1) return;
  for_each_stretch(list, terms, [&](int64_t, int64_t, auto for_each) { for_each(body); });
}

// Calls body(d, a, f) with the differences of a run and what of the functor is the positions' own.
template <class F, class T, bool differences, class Body>
void with_run(const Run& run, Body body) {
  using C = Compute<T>;
  const RowsTerm& term = *run.term;
  C x_buffer[kStretch], y_buffer[kStretch], flat[kStretch];
  const F functor{static_cast<C>(term.a), static_cast<C>(term.b)};
  const C* a = spread(run.of_positions<C>(term.sample_a), run, flat);
  const C* x = widen(run.of(static_cast<const T*>(term.x)), run.n(), x_buffer);
  if constexpr (differences) {
    body(Two<C>{x, widen(run.of(static_cast<const T*>(term.y)), run.n(), y_buffer)}, a, functor);
  } else {
    body(One<C>{x}, a, functor);
  }
}

// u_i = vx_i - vy_i of a run; vx itself where there is no vy
template <class T>
const Compute<T>* cotangents(const Run& run, Compute<T>* u) {
  using C = Compute<T>;
  const T* vx = run.of(static_cast<const T*>(run.term->vx));
  const T* vy = run.of(static_cast<const T*>(run.term->vy));
  if (vx && !vy) return widen(vx, run.n(), u);
  std::fill_n(u, run.n(), C(0));
  if (vx) convert(vx, u, run.n());
  C buffer[kStretch];
  if (vy) subtract(widen(vy, run.n(), buffer), u, run.n());
  return u;
}

// write(to, sign) for the gradient of a run's x, of y with the opposite sign.
template <class T, class Write>
void write_run(const Run& run, Write write) {
  Compute<T> buffer[kStretch];
  write_both(run.of(static_cast<T*>(run.term->dx)), run.of(static_cast<T*>(run.term->dy)), run.n(),
             Compute<T>(1), buffer, write);
}

template <class Body>
void with_list(const RowsList& list, Body body) {
  if (list.differences) {
    with_types<true>(list.functor, list.dtype,
                     [&]<class F, class T>() { body.template operator()<F, T, true>(); });
  } else {
    with_types<false>(list.functor, list.dtype,
                      [&]<class F, class T>() { body.template operator()<F, T, false>(); });
  }
}

// finish(position, count, s) with s_p = sum_k weight_k s_kp sum_j of the numbers y that
// write(run, d, a, f, y) writes.
template <class F, class T, bool differences, class Write, class Finish>
void sum_of_rows(const RowsList& list, std::span<const RowsTerm> terms, Write write,
                 Finish finish) {
  using C = Compute<T>;
  sum_rows(
      list, terms,
      [&](const Run& all, double* sums) {
        all.for_each_channel([&](const Run& run) {
          C y[kStretch];
          with_run<F, T, differences>(
              run, [&](auto d, const C* a, F functor) { write(run, d, a, functor, y); });
          add_rows(y, run.of_positions<C>(run.term->sample_weight), run.term->weight, run.count,
                   run.size, sums);
        });
      },
      finish);
}

// sum_k factor weight_k s_kp sum_j x_kpj y_kpj for each position, where x and y are two of a term's
// tensors: sums of squares and their slopes, in double
template <class T>
std::vector<double> products(const RowsList& list, std::span<const RowsTerm> terms,
                             const void* RowsTerm::* other, double factor) {
  std::vector<double> all(list.positions());
  sum_rows(
      list, terms,
      [&](const Run& run, double* sums) {
        const double scale = factor * run.term->weight;
        const auto s = run.of_positions<Compute<T>>(run.term->sample_weight);
        if (run.term->*other == nullptr) return;
        run.for_each_channel([&](const Run& channel) {
          const T* x = channel.of(static_cast<const T*>(run.term->x));
          const T* y = channel.of(static_cast<const T*>(run.term->*other));
          if (run.size == 1 && s == nullptr) return add_products(x, y, scale, sums, run.n());
          for (int64_t i = 0; i < run.count; ++i)
            sums[i] += scale * (s ? s[i] : 1) * dot(x + i * run.size, y + i * run.size, run.size);
        });
      },
      [&](int64_t position, int64_t count, const double* sums) {
        std::copy_n(sums, count, &all[position]);
      });
  return all;
}

// result = weight mean_p phi(s_p), with both derivatives in each s_p
template <class C>
void write_phi(const RowsPhi& phi, const std::vector<double>& s, C* result, C* derivatives) {
  const int64_t n = s.size();
  const double weight = phi.weight / n;
  with_phi(phi.phi, [&]<template <class> class Functor>() {
    const Functor<double> functor{phi.a, phi.b};
    std::vector<double> partial((n + kTile - 1) / kTile);
    at::parallel_for(0, partial.size(), 1, [&](int64_t first, int64_t last) {
      for (int64_t tile = first; tile < last; ++tile) {
        for (int64_t p = tile * kTile; p < std::min(n, (tile + 1) * kTile); ++p) {
          const Orders<double> of_p = functor(s[p]);
          partial[tile] += of_p.f;
          derivatives[p] = weight * of_p.df;
          derivatives[n + p] = weight * of_p.d2f;
        }
      }
    });
    *result = weight * pairwise_sum(partial.data(), partial.size());
  });
}

}  // namespace

void rows_forward(const RowsList& list, const RowsPhi& phi, void* result_, void* derivatives_) {
  if (phi.phi != Phi::identity) {
    with_dtype(list.dtype, [&]<class T>() {
      const auto result = static_cast<Compute<T>*>(result_);
      const auto derivatives = static_cast<Compute<T>*>(derivatives_);
      const std::vector<RowsTerm> terms = normalized<Compute<T>>(list);
      const std::vector<double> s = products<T>(list, terms, &RowsTerm::x, 1);
      write_phi(phi, s, result, derivatives);
    });
    return;
  }
  with_list(list, [&]<class F, class T, bool differences>() {
    using C = Compute<T>;
    const auto result = static_cast<C*>(result_);
    const std::vector<RowsTerm> terms = normalized<C>(list);
    sum_of_rows<F, T, differences>(
        list, terms,
        [](const Run& run, auto d, const C* a, F f, C* y) { values(d, a, run.n(), f, y); },
        [&](int64_t p, int64_t count, const double* s) { convert(s, result + p, count); });
  });
}

void rows_backward(const RowsList& list, const RowsGrad& grad) {
  with_list(list, [&]<class F, class T, bool differences>() {
    using C = Compute<T>;
    for_each_run(list, normalized<C>(list), [&](const Run& run) {
      if (!run.term->dx && !run.term->dy) return;
      C scale[kStretch], flat[kStretch];
      scales_of(run, grad, scale);
      run.for_each_channel([&](const Run& channel) {
        with_run<F, T, differences>(channel, [&](auto d, const C* a, F functor) {
          write_run<T>(channel, [&](C* to, C sign) {
            if (run.count == 1)
              return write_slopes(d, a, Constant<C>{sign * *scale}, run.n(), functor, to);
            if (sign != 1) negate(scale, scale, run.count);
            write_slopes(d, a, Each<C>{spread(scale, run, flat)}, run.n(), functor, to);
          });
        });
      });
    });
  });
}

void rows_double_backward(const RowsList& list, const RowsGrad& grad, void* dgrad_) {
  with_list(list, [&]<class F, class T, bool differences>() {
    using C = Compute<T>;
    const auto dgrad = static_cast<C*>(dgrad_);
    const std::vector<RowsTerm> terms = normalized<C>(list);
    const bool phi = grad.derivatives != nullptr;
    const auto first = static_cast<const C*>(grad.derivatives);
    std::vector<double> t;
    if (phi) {
      t = products<T>(list, terms, &RowsTerm::vx, 2);
      double sum = 0;
      for (int64_t p = 0; p < list.positions(); ++p) sum += first[p] * t[p];
      *dgrad = sum;
      for (int64_t p = 0; p < list.positions(); ++p)
        t[p] *= first[list.positions() + p] * double(*static_cast<const C*>(grad.grad));
    } else {
      sum_of_rows<F, T, differences>(
          list, terms,
          [](const Run& run, auto d, const C* a, F f, C* y) {
            C buffer[kStretch];
            slopes(d, cotangents<T>(run, buffer), a, run.n(), f, y);
          },
          [&](int64_t p, int64_t count, const double* s) { convert(s, dgrad + p, count); });
    }
    for_each_run(list, terms, [&](const Run& run) {
      if (!run.term->dx && !run.term->dy) return;
      C p[kStretch], q[kStretch] = {}, flat_p[kStretch], flat_q[kStretch], buffer[kStretch];
      scales_of(run, grad, p);
      if (phi) scales(&t[run.position], 1, run, q);
      run.for_each_channel([&](const Run& channel) {
        const C* u = cotangents<T>(channel, buffer);
        with_run<F, T, differences>(channel, [&](auto d, const C* a, F f) {
          write_run<T>(channel, [&](C* to, C sign) {
            const int64_t n = run.n();
            if (run.count == 1)
              return write_curvatures(d, u, a, Constant<C>{sign * *p}, Constant<C>{*q}, n, f, to);
            if (sign != 1) negate(p, p, run.count);
            write_curvatures(d, u, a, Each<C>{spread(p, run, flat_p)},
                             Each<C>{spread(q, run, flat_q)}, n, f, to);
          });
        });
      });
    });
  });
}

}  // namespace ganfast::cpu

// rows_b = sum_k w_k s_kb mean_j f(x_kbj) and its two derivatives on the CPU.
//
// Samples are taken in runs of about kRun elements, over which f is one flat loop however small a
// sample is; a second loop adds up each sample's part. Samples of more elements are cut into tiles.
#include "../ops/unary_rows.h"

#include "logits.h"

namespace ganfast::cpu {
namespace {

// Elements of a flat loop: what it writes for the next one stays in the first cache.
constexpr int64_t kRun = 1024;

// `samples` whole samples of a term, or of one sample the elements from `begin` on.
struct Run {
  const RowsTerm* term;
  int64_t sample, samples;
  int64_t begin, size;  // of each sample

  int64_t n() const { return samples * size; }

  template <class T>
  T* of(T* tensor) const {
    return tensor + sample * term->size + begin;
  }

  // Numbers of the run's samples, or null.
  template <class C>
  const C* of_samples(const void* numbers) const {
    return numbers == nullptr ? nullptr : static_cast<const C*>(numbers) + sample;
  }
};

// Each sample's number for each of its elements. `flat` holds them where a sample has several.
template <class C>
const C* spread(const C* numbers, const Run& run, C* flat) {
  if (run.size == 1 || numbers == nullptr) return numbers;
  for (int64_t i = 0; i < run.samples; ++i) std::fill_n(flat + i * run.size, run.size, numbers[i]);
  return flat;
}

// y_i = f(x_i; a_i, b), or with the functor's own a where a is null
template <class F, class T>
GANFAST_SIMD void values(const T* x, const Compute<T>* a, Compute<T>* y, int64_t n, F functor) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = functor.f(load(x[i]));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = F{a[i], functor.b}.f(load(x[i]));
}

// dx_i = scale_i f'(x_i)
template <class F, class T>
GANFAST_SIMD void gradient(const T* x, const Compute<T>* a, const Compute<T>* scale, T* dx,
                           int64_t n, F functor) {
  if (a == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(dx[i], scale[i] * functor.df(load(x[i])));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(dx[i], scale[i] * F{a[i], functor.b}.df(load(x[i])));
}

// dx_i = scale_i v_i f''(x_i), y_i = v_i f'(x_i)
template <class F, class T>
GANFAST_SIMD void second_gradient(const T* x, const T* v, const Compute<T>* a,
                                  const Compute<T>* scale, T* dx, Compute<T>* y, int64_t n,
                                  F functor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const F f{a == nullptr ? functor.a : a[i], functor.b};
    const Compute<T> xi = load(x[i]), vi = load(v[i]);
    store(dx[i], scale[i] * vi * f.d2f(xi));
    y[i] = vi * f.df(xi);
  }
}

// y_i = x_i
template <class C>
GANFAST_SIMD void narrow(const double* x, C* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i];
}

// sums_i += weight s_i sum_j y_ij
template <class C>
GANFAST_SIMD void add_rows(const C* y, const C* sample_weight, double weight, int64_t samples,
                           int64_t size, double* sums) {
  if (size == 1 && sample_weight == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < samples; ++i) sums[i] += weight * y[i];
    return;
  }
  if (size == 1) {
#pragma omp simd
    for (int64_t i = 0; i < samples; ++i) sums[i] += weight * sample_weight[i] * y[i];
    return;
  }
  for (int64_t i = 0; i < samples; ++i) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < size; ++j) sum += y[i * size + j];
    sums[i] += weight * (sample_weight == nullptr ? 1 : sample_weight[i]) * sum;
  }
}

// scale_i = grad_i weight s_i; the gradients are `step` apart
template <class C>
GANFAST_SIMD void scales(const C* grad, int64_t step, double weight, const C* sample_weight,
                         int64_t samples, C* scale) {
  if (step == 1) {
#pragma omp simd
    for (int64_t i = 0; i < samples; ++i) scale[i] = grad[i] * weight;
  } else {
#pragma omp simd
    for (int64_t i = 0; i < samples; ++i) scale[i] = *grad * weight;
  }
  if (sample_weight == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < samples; ++i) scale[i] *= sample_weight[i];
}

// total_i += own_i; returns sum_i own_i
GANFAST_SIMD double add_to(const double* own, double* total, int64_t n) {
  return tile_sum(n, [&](int64_t i) GANFAST_INLINE {
    total[i] += own[i];
    return own[i];
  });
}

template <class C>
void scales(const Run& run, RowsGrad grad, C* scale) {
  scales(static_cast<const C*>(grad.data) + run.sample * grad.step, grad.step, run.term->weight,
         run.of_samples<C>(run.term->sample_weight), run.samples, scale);
}

template <class C>
GANFAST_SIMD double sum(const C* x, int64_t n) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

// The terms with what normalizes their sample weights in their weight.
template <class C>
std::vector<RowsTerm> normalized(const RowsList& list) {
  std::vector<RowsTerm> terms(list.terms.begin(), list.terms.end());
  for (RowsTerm& term : terms) {
    if (!list.normalize || term.sample_weight == nullptr) continue;
    const double total = sum(static_cast<const C*>(term.sample_weight), list.samples);
    term.weight *= list.samples / (total == 0 ? 1 : total);
  }
  return terms;
}

// One sample of a term, as tiles.h wants it.
struct Sample {
  const RowsTerm* term;
  int64_t sample, n;
};

std::vector<Sample> large_samples(std::span<const RowsTerm> terms, int64_t samples) {
  std::vector<Sample> large;
  for (const RowsTerm& term : terms) {
    if (term.size <= kRun) continue;
    for (int64_t sample = 0; sample < samples; ++sample)
      large.push_back({&term, sample, term.size});
  }
  return large;
}

// Calls body(run) for the runs of a tile.
template <class Body>
void for_each_run_of_tile(const Sample& sample, int64_t begin, int64_t size, Body body) {
  for (const int64_t end = begin + size; begin < end; begin += kRun)
    body(Run{sample.term, sample.sample, 1, begin, std::min(kRun, end - begin)});
}

// Calls body(sample, samples) for the runs of samples in which no small term has more than kRun
// elements.
template <class Body>
void for_each_run_of_samples(std::span<const RowsTerm> terms, int64_t samples, Body body) {
  int64_t largest = 1, total = 1;
  for (const RowsTerm& term : terms) {
    if (term.size > kRun) continue;
    largest = std::max(largest, term.size);
    total += term.size;
  }
  const int64_t step = kRun / largest, runs = (samples + step - 1) / step;
  const int64_t grain = std::max<int64_t>(1, kGrain * kTile / (step * total));
  at::parallel_for(0, runs, grain, [&](int64_t first, int64_t last) {
    for (int64_t run = first; run < last; ++run)
      body(run * step, std::min(step, samples - run * step));
  });
}

// rows_b = sum over the runs of sample b of what body(run, sums) adds to the sums of its samples.
template <class C, class Body>
void sum_rows(std::span<const RowsTerm> terms, int64_t samples, C* rows, Body body) {
  const std::vector<Sample> large = large_samples(terms, samples);
  std::vector<double> of_large(large.empty() ? 0 : samples);
  if (!large.empty()) {
    const std::vector<double> sums = sums_of_terms(
        std::span<const Sample>(large), [&](const Sample& sample, int64_t begin, int64_t size) {
          double sum = 0;
          for_each_run_of_tile(sample, begin, size, [&](const Run& run) { body(run, &sum); });
          return sum;
        });
    for (size_t i = 0; i < large.size(); ++i) of_large[large[i].sample] += sums[i];
  }
  for_each_run_of_samples(terms, samples, [&](int64_t sample, int64_t count) {
    double sums[kRun];
    if (of_large.empty()) {
      std::fill_n(sums, count, 0.0);
    } else {
      std::copy_n(&of_large[sample], count, sums);
    }
    for (const RowsTerm& term : terms)
      if (term.size <= kRun) body(Run{&term, sample, count, 0, term.size}, sums);
    narrow(sums, rows + sample, count);
  });
}

// Calls body(run) for all runs.
template <class Body>
void for_each_run(std::span<const RowsTerm> terms, int64_t samples, Body body) {
  const std::vector<Sample> large = large_samples(terms, samples);
  const std::span<const Sample> all(large);
  for_each_tile(all, count_tiles(all),
                [&](const Sample& sample, int64_t begin, int64_t size, int64_t) {
                  for_each_run_of_tile(sample, begin, size, body);
                });
  if (std::all_of(terms.begin(), terms.end(), [](const RowsTerm& t) { return t.size > kRun; }))
    return;
  for_each_run_of_samples(terms, samples, [&](int64_t sample, int64_t count) {
    for (const RowsTerm& term : terms)
      if (term.size <= kRun) body(Run{&term, sample, count, 0, term.size});
  });
}

template <class F, class T>
F make_functor(const RowsTerm& term) {
  return {static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)};
}

// rows_b = sum_k weight_k s_kb sum_j f(x_kbj)
template <class F, class T, class Row>
void forward_rows(std::span<const RowsTerm> terms, int64_t samples, Row* rows) {
  using C = Compute<T>;
  sum_rows(terms, samples, rows, [](const Run& run, double* sums) {
    const RowsTerm& term = *run.term;
    C y[kRun], flat[kRun];
    values(run.of(static_cast<const T*>(term.x)),
           spread(run.of_samples<C>(term.sample_a), run, flat), y, run.n(),
           make_functor<F, T>(term));
    add_rows(y, run.of_samples<C>(term.sample_weight), term.weight, run.samples, run.size, sums);
  });
}

// A tensor's elements, or the samples, as tiles.h wants them.
struct Flat {
  const void* x;
  int64_t n;
};

}  // namespace

void unary_rows_forward(UnaryFunctor functor, DType dtype, const RowsList& list, void* rows) {
  with_types(functor, dtype, [&]<class F, class T>() {
    const std::vector<RowsTerm> terms = normalized<Compute<T>>(list);
    forward_rows<F, T>(terms, list.samples, static_cast<Compute<T>*>(rows));
  });
}

void unary_rows_forward_stats(UnaryFunctor functor, DType dtype, const RowsList& list,
                              double threshold, void* rows, void* stats) {
  with_types(functor, dtype, [&]<class F, class T>() {
    using C = Compute<T>;
    const std::vector<RowsTerm> terms = normalized<C>(list);
    const std::vector<Flat> samples{{nullptr, list.samples}};
    std::vector<double> own(list.samples), total(list.samples);
    auto row = static_cast<C*>(stats);
    for (const RowsTerm& term : terms) {
      forward_rows<F, T>({&term, 1}, list.samples, own.data());
      const double value =
          sum_over_tiles(std::span(samples), [&](const Flat&, int64_t begin, int64_t size) {
            return add_to(&own[begin], &total[begin], size);
          });
      const std::vector<Flat> elements{{term.x, list.samples * term.size}};
      std::vector<Logits> logits(tiles_of(elements[0]));
      for_each_tile(std::span(elements), logits.size(),
                    [&](const Flat& flat, int64_t begin, int64_t size, int64_t tile) {
                      logits[tile] = logits_of(static_cast<const T*>(flat.x) + begin, size,
                                               static_cast<C>(threshold));
                    });
      write_stats(value, total_of(logits.data(), logits.size()), elements[0].n, row);
      row += 4;
    }
    const std::span<const Flat> all(samples);
    for_each_tile(all, count_tiles(all), [&](const Flat&, int64_t begin, int64_t size, int64_t) {
      narrow(&total[begin], static_cast<C*>(rows) + begin, size);
    });
  });
}

void unary_rows_backward(UnaryFunctor functor, DType dtype, const RowsList& list, RowsGrad grad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    using C = Compute<T>;
    const std::vector<RowsTerm> terms = normalized<C>(list);
    for_each_run(terms, list.samples, [&](const Run& run) {
      const RowsTerm& term = *run.term;
      C scale[kRun], flat[kRun], flat_a[kRun];
      scales(run, grad, scale);
      gradient(run.of(static_cast<const T*>(term.x)),
               spread(run.of_samples<C>(term.sample_a), run, flat_a), spread(scale, run, flat),
               run.of(static_cast<T*>(term.dx)), run.n(), make_functor<F, T>(term));
    });
  });
}

void unary_rows_double_backward(UnaryFunctor functor, DType dtype, const RowsList& list,
                                RowsGrad grad, void* dgrad) {
  with_types(functor, dtype, [&]<class F, class T>() {
    using C = Compute<T>;
    const std::vector<RowsTerm> terms = normalized<C>(list);
    sum_rows<C>(terms, list.samples, static_cast<C*>(dgrad), [&](const Run& run, double* sums) {
      const RowsTerm& term = *run.term;
      C scale[kRun], flat[kRun], flat_a[kRun], y[kRun];
      scales(run, grad, scale);
      second_gradient(run.of(static_cast<const T*>(term.x)), run.of(static_cast<const T*>(term.v)),
                      spread(run.of_samples<C>(term.sample_a), run, flat_a),
                      spread(scale, run, flat), run.of(static_cast<T*>(term.dx)), y, run.n(),
                      make_functor<F, T>(term));
      add_rows(y, run.of_samples<C>(term.sample_weight), term.weight, run.samples, run.size, sums);
    });
  });
}

}  // namespace ganfast::cpu

// L = weight * mean_b phi(sum_j g_bj^2) and its two derivatives on the CPU.
#include "../ops/norm_reduce.h"

#include <limits>

#include "tiles.h"

namespace ganfast::cpu {
namespace {

// sum_j x_j y_j
template <class T>
GANFAST_SIMD double dot(const T* x, const T* y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j)
    sum += static_cast<double>(load(x[j])) * static_cast<double>(load(y[j]));
  return sum;
}

// sums_j += x_j y_j
template <class T>
GANFAST_SIMD void add_products(const T* x, const T* y, double* sums, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j)
    sums[j] += static_cast<double>(load(x[j])) * static_cast<double>(load(y[j]));
}

// y_j = scale x_j
template <class T>
GANFAST_SIMD void scale(const T* x, T* y, int64_t n, Compute<T> scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) store(y[j], scale * load(x[j]));
}

// y_j = p v_j + q x_j
template <class T>
GANFAST_SIMD void combine(const T* x, const T* v, T* y, int64_t n, Compute<T> p, Compute<T> q) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) store(y[j], p * load(v[j]) + q * load(x[j]));
}

// The same with a factor for each element.
template <class T>
GANFAST_SIMD void scale_each(const T* x, T* y, int64_t n, Compute<T> scale, const Compute<T>* p) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) store(y[j], scale * p[j] * load(x[j]));
}
template <class T>
GANFAST_SIMD void combine_each(const T* x, const T* v, T* y, int64_t n, Compute<T> scale,
                               const Compute<T>* p, const Compute<T>* q, const double* t) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const Compute<T> qt = q[j] * (2 * t[j]);
    store(y[j], scale * (p[j] * load(v[j]) + qt * load(x[j])));
  }
}

// A stretch of memory that belongs to one position, or to n positions of one channel.
struct Stretch {
  const NormTerm* term;
  int64_t offset, position, n;
};

// The samples of every term.
std::vector<Stretch> samples(NormShape shape, std::span<const NormTerm> terms) {
  std::vector<Stretch> rows;
  rows.reserve(shape.outer * terms.size());
  for (int64_t sample = 0; sample < shape.outer; ++sample)
    for (const NormTerm& term : terms)
      rows.push_back({&term, sample * term.size, sample, term.size});
  return rows;
}

// Calls body(stretch, begin, size) for every tile of every sample of every term.
template <class Body>
void for_each_tile_of_samples(NormShape shape, std::span<const NormTerm> terms, Body body) {
  const std::vector<Stretch> rows = samples(shape, terms);
  const std::span<const Stretch> all(rows);
  for_each_tile(all, count_tiles(all), [&](const Stretch& s, int64_t begin, int64_t size, int64_t) {
    body(s, begin, size);
  });
}

// Calls body(stretch) for every channel of every run of pixels, the channels of a run one after the
// other in one thread.
template <class Body>
void for_each_run_of_pixels(NormShape shape, std::span<const NormTerm> terms, Body body) {
  constexpr int64_t kRun = 1024;
  const int64_t runs = (shape.inner + kRun - 1) / kRun;
  at::parallel_for(0, shape.outer * runs, 1, [&](int64_t first, int64_t last) {
    for (int64_t run = first; run < last; ++run) {
      const int64_t outer = run / runs, begin = run % runs * kRun;
      const int64_t n = std::min(kRun, shape.inner - begin);
      for (const NormTerm& term : terms)
        for (int64_t channel = 0; channel < term.size; ++channel)
          body(Stretch{&term, (outer * term.size + channel) * shape.inner + begin,
                       outer * shape.inner + begin, n});
    }
  });
}

// sum_k sum_j x_kpj y_kpj for every position p, with two of a term's tensors
template <class T>
std::vector<double> products(NormShape shape, std::span<const NormTerm> terms,
                             const void* NormTerm::* x, const void* NormTerm::* y) {
  const auto at = [](const Stretch& s, const void* NormTerm::* tensor, int64_t begin) {
    return static_cast<const T*>(s.term->*tensor) + s.offset + begin;
  };
  std::vector<double> sums(shape.positions());
  if (shape.pixel) {
    for_each_run_of_pixels(shape, terms, [&](const Stretch& s) {
      add_products(at(s, x, 0), at(s, y, 0), sums.data() + s.position, s.n);
    });
    return sums;
  }
  const std::vector<Stretch> rows = samples(shape, terms);
  const auto of_rows = sums_of_terms(std::span<const Stretch>(rows),
                                     [&](const Stretch& s, int64_t begin, int64_t size) {
                                       return dot(at(s, x, begin), at(s, y, begin), size);
                                     });
  for (size_t row = 0; row < rows.size(); ++row) sums[rows[row].position] += of_rows[row];
  return sums;
}

// The largest sum, and how many have it. NaN is larger than anything.
struct Largest {
  double value = -std::numeric_limits<double>::infinity();
  int64_t count = 0;

  explicit Largest(const std::vector<double>& sums) {
    for (double s : sums) {
      if (s > value || s != s) value = s;
    }
    for (double s : sums) count += s == value;
  }
};

}  // namespace

void norm_reduce_forward(NormPhi phi, DType dtype, NormShape shape, std::span<const NormTerm> terms,
                         void* loss, void* derivatives) {
  with_dtype(dtype, [&]<class T>() {
    const std::vector<double> s = products<T>(shape, terms, &NormTerm::g, &NormTerm::g);
    const int64_t n = shape.positions();
    const auto first = static_cast<Compute<T>*>(derivatives);
    const auto second = first + n;
    if (phi.functor == NormFunctor::maximum) {
      const Largest largest(s);
      *static_cast<Compute<T>*>(loss) = phi.weight * largest.value;
      for (int64_t p = 0; p < n; ++p) {
        first[p] = s[p] == largest.value ? phi.weight / largest.count : 0;
        second[p] = 0;
      }
      return;
    }
    with_functor(phi.functor, [&]<template <class> class F>() {
      const F<double> functor{phi.a, phi.b};
      const double weight = phi.weight / n;
      std::vector<double> partial((n + kTile - 1) / kTile);
      at::parallel_for(0, partial.size(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile) {
          double sum = 0;
          for (int64_t p = tile * kTile; p < std::min(n, (tile + 1) * kTile); ++p) {
            const Orders<double> phi_p = functor(s[p]);
            sum += phi_p.f;
            first[p] = weight * phi_p.df;
            second[p] = weight * phi_p.d2f;
          }
          partial[tile] = sum;
        }
      });
      double sum = 0;
      for (double p : partial) sum += p;
      *static_cast<Compute<T>*>(loss) = weight * sum;
    });
  });
}

void norm_reduce_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                          const void* grad, const void* derivatives) {
  with_dtype(dtype, [&]<class T>() {
    const Compute<T> outer = 2 * *static_cast<const Compute<T>*>(grad);
    const auto first = static_cast<const Compute<T>*>(derivatives);
    if (shape.pixel) {
      for_each_run_of_pixels(shape, terms, [&](const Stretch& s) {
        scale_each(static_cast<const T*>(s.term->g) + s.offset,
                   static_cast<T*>(s.term->dg) + s.offset, s.n, outer, first + s.position);
      });
      return;
    }
    for_each_tile_of_samples(shape, terms, [&](const Stretch& s, int64_t begin, int64_t size) {
      scale(static_cast<const T*>(s.term->g) + s.offset + begin,
            static_cast<T*>(s.term->dg) + s.offset + begin, size, outer * first[s.position]);
    });
  });
}

void norm_reduce_double_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                                 const void* grad, const void* derivatives, void* dgrad) {
  with_dtype(dtype, [&]<class T>() {
    const Compute<T> outer = 2 * *static_cast<const Compute<T>*>(grad);
    const auto first = static_cast<const Compute<T>*>(derivatives);
    const auto second = first + shape.positions();
    const std::vector<double> t = products<T>(shape, terms, &NormTerm::g, &NormTerm::v);
    double sum = 0;
    for (int64_t p = 0; p < shape.positions(); ++p) sum += 2 * first[p] * t[p];
    *static_cast<Compute<T>*>(dgrad) = sum;
    if (shape.pixel) {
      for_each_run_of_pixels(shape, terms, [&](const Stretch& s) {
        combine_each(static_cast<const T*>(s.term->g) + s.offset,
                     static_cast<const T*>(s.term->v) + s.offset,
                     static_cast<T*>(s.term->dg) + s.offset, s.n, outer, first + s.position,
                     second + s.position, t.data() + s.position);
      });
      return;
    }
    for_each_tile_of_samples(shape, terms, [&](const Stretch& s, int64_t begin, int64_t size) {
      combine(static_cast<const T*>(s.term->g) + s.offset + begin,
              static_cast<const T*>(s.term->v) + s.offset + begin,
              static_cast<T*>(s.term->dg) + s.offset + begin, size, outer * first[s.position],
              static_cast<Compute<T>>(2 * outer * second[s.position] * t[s.position]));
    });
  });
}

}  // namespace ganfast::cpu

// The elementwise parts of the polar iteration on the CPU.
#include "../ops/frechet.h"

#include "simd.h"
#include "tiles.h"

namespace ganfast::cpu {
namespace {

struct Matrix {
  int64_t index, n;  // n entries
};

std::vector<Matrix> matrices_of(int64_t matrices, int64_t size) {
  std::vector<Matrix> terms;
  for (int64_t m = 0; m < matrices; ++m) terms.push_back({m, size});
  return terms;
}

template <class F, class T>
GANFAST_SIMD double pair_sum(const T* x, const T* y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += F::of(x[i], y[i]);
  return sum;
}

template <class T>
GANFAST_SIMD void scaled_cast(const double* a, double scale, T* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(scale * a[i]);
}

template <class T>
GANFAST_SIMD void quadratic(const T* g, T b, T c, T* p, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) p[i] = b * g[i] + c * p[i];
}

}  // namespace

void frechet_pair_sums(PairSum sum, DType dtype, const void* x, const void* y, int64_t matrices,
                       int64_t size, double* sums) {
  with_pair_sum(sum, dtype, [&]<class F, class T>() {
    for (int64_t m = 0; m < matrices; ++m) {
      const Matrix matrix{m, size};
      sums[m] = sum_terms(std::span(&matrix, 1), [&](const Matrix& matrix, int64_t begin, int64_t n,
                                                     int64_t) {
        const int64_t offset = matrix.index * size + begin;
        return pair_sum<F>(static_cast<const T*>(x) + offset, static_cast<const T*>(y) + offset, n);
      })[0];
    }
  });
}

void frechet_scaled_cast(DType dtype, const double* a, const double* squares, void* x,
                         int64_t matrices, int64_t size) {
  const std::vector<Matrix> terms = matrices_of(matrices, size);
  with_width(dtype, [&]<class T>() {
    for_each_tile(std::span(terms), count_tiles(std::span(terms)),
                  [&](const Matrix& matrix, int64_t begin, int64_t n, int64_t) {
                    const int64_t offset = matrix.index * size + begin;
                    scaled_cast(a + offset, inverse_norm(squares[matrix.index]),
                                static_cast<T*>(x) + offset, n);
                  });
  });
}

void frechet_quintic(DType dtype, const Quintic& quintic, const void* g, const double* squares,
                     void* p, int64_t matrices, int64_t n) {
  const std::vector<Matrix> terms = matrices_of(matrices, n * n);
  with_width(dtype, [&]<class T>() {
    for_each_tile(
        std::span(terms), count_tiles(std::span(terms)),
        [&](const Matrix& matrix, int64_t begin, int64_t count, int64_t) {
          const Quintic q = scaled(quintic, squares == nullptr ? nullptr : squares + matrix.index);
          const int64_t offset = matrix.index * n * n + begin;
          T* tile = static_cast<T*>(p) + offset;
          quadratic(static_cast<const T*>(g) + offset, static_cast<T>(q.b), static_cast<T>(q.c),
                    tile, count);
          const int64_t diagonal = (begin + n) / (n + 1) * (n + 1);  // the first from begin on
          for (int64_t i = diagonal; i < begin + count; i += n + 1)
            tile[i - begin] += static_cast<T>(q.a);
        });
  });
}

}  // namespace ganfast::cpu

// Convolutions of float32 images with their channels side by side, on CPUs with AVX2 and FMA.
//
// A tile of 6 pixels by 16 channels is summed up in 12 registers over all taps and channels of the
// window: no copy of the image is made, each tap reads its pixels where they are ("indirect"
// convolution, Dukhan 2019). Windows of stride 1 can take Winograd's minimal filtering (Lavin and
// Gray 2016): F(4 x 4, 3 x 3) has 36 products for 16 pixels instead of 144.
#include "../ops/convolution.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define GANFAST_AVX2 __attribute__((target("avx2,fma")))
#include <immintrin.h>
#endif

namespace ganfast::cpu {

#ifdef GANFAST_AVX2
namespace {

using Vec = __m256;
constexpr int64_t kPixels = 6;

// 6 x 16 sums of products: over taps t and channels c, rows[6 t + i][c] * b[t, c, :].
GANFAST_AVX2 inline void products(const float* const* rows, int64_t taps, int64_t channels,
                                  const float* b, Vec (&sum)[kPixels][2]) {
#pragma GCC unroll 6
  for (int i = 0; i < kPixels; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
  for (int64_t tap = 0; tap < taps; ++tap, rows += kPixels) {
    const float *a0 = rows[0], *a1 = rows[1], *a2 = rows[2], *a3 = rows[3], *a4 = rows[4],
                *a5 = rows[5];
    for (int64_t c = 0; c < channels; ++c, b += kPanel) {
      const Vec left = _mm256_loadu_ps(b), right = _mm256_loadu_ps(b + 8);
      const auto add = [&](int i, const float* a)
                           __attribute__((always_inline, target("avx2,fma"))) {
                             const Vec x = _mm256_broadcast_ss(a + c);
                             sum[i][0] = _mm256_fmadd_ps(x, left, sum[i][0]);
                             sum[i][1] = _mm256_fmadd_ps(x, right, sum[i][1]);
                           };
      add(0, a0);
      add(1, a1);
      add(2, a2);
      add(3, a3);
      add(4, a4);
      add(5, a5);
    }
  }
}

// The maximum lets NaN through: that of two numbers of which one is NaN is the second.
GANFAST_AVX2 inline Vec finished(Vec sum, const float* bias, const float* lower) {
  return _mm256_max_ps(_mm256_loadu_ps(lower), _mm256_add_ps(sum, _mm256_loadu_ps(bias)));
}

GANFAST_AVX2 void direct_tile(const float* const* rows, int64_t taps, int64_t channels,
                              const float* b, const float* bias, const float* lower,
                              float* const* out, int64_t n) {
  Vec sum[kPixels][2];
  products(rows, taps, channels, b, sum);
#pragma GCC unroll 6
  for (int i = 0; i < kPixels; ++i) {
    const Vec left = finished(sum[i][0], bias, lower);
    const Vec right = finished(sum[i][1], bias + 8, lower + 8);
    if (n == kPanel) {
      _mm256_storeu_ps(out[i], left);
      _mm256_storeu_ps(out[i] + 8, right);
    } else {
      float row[kPanel];
      _mm256_storeu_ps(row, left);
      _mm256_storeu_ps(row + 8, right);
      std::copy_n(row, n, out[i]);
    }
  }
}

GANFAST_AVX2 void product_tile(const float* a, int64_t channels, const float* b, float* out,
                               int64_t stride) {
  const float* rows[kPixels];
  for (int i = 0; i < kPixels; ++i) rows[i] = a + i * channels;
  Vec sum[kPixels][2];
  products(rows, 1, channels, b, sum);
#pragma GCC unroll 6
  for (int i = 0; i < kPixels; ++i) {
    _mm256_storeu_ps(out + i * stride, sum[i][0]);
    _mm256_storeu_ps(out + i * stride + 8, sum[i][1]);
  }
}

GANFAST_AVX2 inline Vec times(float a, Vec x) {
  return _mm256_mul_ps(_mm256_set1_ps(a), x);
}

GANFAST_AVX2 inline Vec add(Vec x, Vec y) {
  return _mm256_add_ps(x, y);
}

GANFAST_AVX2 inline Vec sub(Vec x, Vec y) {
  return _mm256_sub_ps(x, y);
}

// x + a * y
GANFAST_AVX2 inline Vec add(Vec x, float a, Vec y) {
  return _mm256_fmadd_ps(_mm256_set1_ps(a), y, x);
}

// B^T d in one dimension: for each point p the coefficients of the product of x - q over the other
// points q. These are 0, 1, -1, 2, -2, for 8 pixels also 1/2, -1/2, for 9 also kNinth, and
// infinity, which is the last.
constexpr float kNinth = 0.25f;

GANFAST_AVX2 inline void spread(const Vec (&d)[1], Vec (&t)[1]) {
  t[0] = d[0];
}

GANFAST_AVX2 inline void spread(const Vec (&d)[6], Vec (&t)[6]) {
  const Vec even = add(d[4], -4, d[2]), odd = add(d[3], -4, d[1]);
  const Vec near = sub(d[4], d[2]), far = times(2, sub(d[3], d[1]));
  t[0] = add(add(d[4], -5, d[2]), 4, d[0]);
  t[1] = add(even, odd);
  t[2] = sub(even, odd);
  t[3] = add(near, far);
  t[4] = sub(near, far);
  t[5] = add(add(d[5], -5, d[3]), 4, d[1]);
}

GANFAST_AVX2 inline void spread(const Vec (&d)[8], Vec (&t)[8]) {
  t[0] = add(sub(d[6], d[0]), 5.25f, sub(d[2], d[4]));
  t[7] = add(sub(d[7], d[1]), 5.25f, sub(d[3], d[5]));
  const auto pair = [&](int at, Vec even, Vec odd)
                        __attribute__((always_inline, target("avx2,fma"))) {
                          t[at] = add(even, odd);
                          t[at + 1] = sub(even, odd);
                        };
  pair(1, add(add(d[2], d[6]), -4.25f, d[4]), add(add(d[1], d[5]), -4.25f, d[3]));
  pair(3, add(add(d[6], 0.25f, d[2]), -1.25f, d[4]),
       add(add(times(2, d[5]), 0.5f, d[1]), -2.5f, d[3]));
  pair(5, add(d[6], 4, add(d[2], -1.25f, d[4])), add(add(times(2, d[1]), 0.5f, d[5]), -2.5f, d[3]));
}

// All but the row of kNinth are those of 8 pixels times x - kNinth.
GANFAST_AVX2 inline void spread(const Vec (&d)[9], Vec (&t)[9]) {
  Vec first[8], shifted[8], of_first[8], of_shifted[8];
  for (int i = 0; i < 8; ++i) {
    first[i] = d[i];
    shifted[i] = add(d[i + 1], -kNinth, d[i]);
  }
  spread(first, of_first);
  spread(shifted, of_shifted);
  for (int i = 0; i < 7; ++i) t[i] = of_shifted[i];
  t[7] = of_first[7];
  t[8] = of_shifted[7];
}

// A^T m in one dimension.
GANFAST_AVX2 inline void gather(const Vec (&m)[1], Vec (&y)[1]) {
  y[0] = m[0];
}

GANFAST_AVX2 inline void gather(const Vec (&m)[6], Vec (&y)[2]) {
  y[0] = add(m[0], add(add(m[1], m[2]), add(m[3], m[4])));
  y[1] = add(add(m[5], sub(m[1], m[2])), 2, sub(m[3], m[4]));
}

GANFAST_AVX2 inline void gather(const Vec (&m)[6], Vec (&y)[4]) {
  const Vec s = add(m[1], m[2]), d = sub(m[1], m[2]);
  const Vec s2 = add(m[3], m[4]), d2 = sub(m[3], m[4]);
  y[0] = add(add(m[0], s), s2);
  y[1] = add(d, 2, d2);
  y[2] = add(s, 4, s2);
  y[3] = add(add(d, m[5]), 8, d2);
}

GANFAST_AVX2 inline void gather(const Vec (&m)[9], Vec (&y)[3]) {
  const Vec s = add(m[1], m[2]), s2 = add(m[3], m[4]), s3 = add(m[5], m[6]);
  const Vec d = sub(m[1], m[2]), d2 = sub(m[3], m[4]), d3 = sub(m[5], m[6]);
  y[0] = add(add(m[0], m[7]), add(s, add(s2, s3)));
  y[1] = add(add(add(d, 2, d2), 0.5f, d3), kNinth, m[7]);
  y[2] = add(add(add(add(m[8], s), 4, s2), 0.25f, s3), kNinth * kNinth, m[7]);
}

// A tile of the result, and of the pixels that it is made from.
template <int kHeight, int kWidth, int kOutHeight, int kOutWidth>
struct Tile {
  static constexpr int kIn = kHeight * kWidth, kOut = kOutHeight * kOutWidth;

  // B^T d B for all channels: pixel (i, j) at rows[i * kWidth + j], number e at v + e * step.
  GANFAST_AVX2 static void spread_all(const float* const* rows, int64_t channels, float* v,
                                      int64_t step) {
    for (int64_t c = 0; c < channels; c += 8) {
      Vec half[kHeight][kWidth];
      for (int j = 0; j < kWidth; ++j) {
        Vec d[kHeight], t[kHeight];
        for (int i = 0; i < kHeight; ++i) d[i] = _mm256_loadu_ps(rows[i * kWidth + j] + c);
        spread(d, t);
        for (int i = 0; i < kHeight; ++i) half[i][j] = t[i];
      }
      for (int i = 0; i < kHeight; ++i) {
        Vec t[kWidth];
        spread(half[i], t);
        for (int j = 0; j < kWidth; ++j) _mm256_storeu_ps(v + (i * kWidth + j) * step + c, t[j]);
      }
    }
  }

  // A^T m A for the channels of a panel: pixel (i, j) to out[i * kOutWidth + j], if there is one.
  GANFAST_AVX2 static void gather_all(const float* m, int64_t step, const float* bias,
                                      const float* lower, float* const* out, int64_t n) {
    for (int64_t c = 0; c < n; c += 8) {
      Vec half[kOutHeight][kWidth];
      for (int j = 0; j < kWidth; ++j) {
        Vec column[kHeight], y[kOutHeight];
        for (int i = 0; i < kHeight; ++i)
          column[i] = _mm256_loadu_ps(m + (i * kWidth + j) * step + c);
        gather(column, y);
        for (int i = 0; i < kOutHeight; ++i) half[i][j] = y[i];
      }
      for (int i = 0; i < kOutHeight; ++i) {
        Vec y[kOutWidth];
        gather(half[i], y);
        for (int j = 0; j < kOutWidth; ++j) {
          float* to = out[i * kOutWidth + j];
          if (to == nullptr) continue;
          const Vec value = finished(y[j], bias + c, lower + c);
          if (n - c >= 8) {
            _mm256_storeu_ps(to + c, value);
          } else {
            float row[8];
            _mm256_storeu_ps(row, value);
            std::copy_n(row, n - c, to + c);
          }
        }
      }
    }
  }

  static void run(const Image& of_x, const float* x, const Image& of_y, float* y,
                  const Window& window, const float* weight, const float* bias, const float* lower);
};

// Where the pixel (row, column) of an image is, or `outside`.
template <class T>
T* place(const Image& image, T* data, int64_t number, int64_t row, int64_t column, T* outside) {
  if (row < 0 || row >= image.height || column < 0 || column >= image.width) return outside;
  return data + ((number * image.height + row) * image.width + column) * image.pixel;
}

// How many of `count` pixels or tiles a thread takes at a time: at most `most` and full tiles of
// kPixels, and so that all threads have equally much.
int64_t balanced_block(int64_t count, int64_t most) {
  const int64_t threads = at::get_num_threads(), share = most * threads;
  const int64_t blocks = (count + share - 1) / share * threads;
  return ((count + blocks - 1) / blocks + kPixels - 1) / kPixels * kPixels;
}

int64_t panels_of(const Image& y) {
  return (y.channels + kPanel - 1) / kPanel;
}

}  // namespace

bool convolution_serves() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

void convolution(const Image& of_x, const float* x, const Image& of_y, float* y,
                 const Window& window, const float* weight, const float* bias, const float* lower) {
  // Pixels for which a panel of weights stays in the cache.
  constexpr int64_t kMost = 16 * kPixels;
  const int64_t taps = window.height * window.width, panels = panels_of(of_y);
  const int64_t pixels = of_y.images * of_y.height * of_y.width;
  const int64_t most = balanced_block(pixels, kMost);
  const std::vector<float> zeros(of_x.channels);
  at::parallel_for(0, (pixels + most - 1) / most, 1, [&](int64_t first, int64_t last) {
    std::vector<const float*> rows(most * taps);
    float* out[kMost];
    for (int64_t block = first; block < last; ++block) {
      const int64_t count = std::min(most, pixels - block * most);
      for (int64_t i = 0; i < most; ++i) {
        // Those beyond the last repeat it.
        const int64_t at = block * most + std::min(i, count - 1);
        const int64_t row = at / of_y.width, left = at % of_y.width;
        const int64_t image = row / of_y.height, top = row % of_y.height;
        out[i] = y + at * of_y.pixel;
        const float** tile = rows.data() + i / kPixels * kPixels * taps + i % kPixels;
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t v = top * window.stride - window.pad_y + tap / window.width;
          const int64_t h = left * window.stride - window.pad_x + tap % window.width;
          const bool inside = 0 <= v && v < of_x.height && 0 <= h && h < of_x.width;
          tile[tap * kPixels] =
              inside ? x + ((image * of_x.height + v) * of_x.width + h) * of_x.pixel : zeros.data();
        }
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t channel = panel * kPanel;
        for (int64_t tile = 0; tile < count; tile += kPixels) {
          float* to[kPixels];
          for (int i = 0; i < kPixels; ++i) to[i] = out[tile + i] + channel;
          direct_tile(rows.data() + tile * taps, taps, of_x.channels,
                      weight + channel * taps * of_x.channels, bias + channel, lower + channel, to,
                      std::min(kPanel, of_y.channels - channel));
        }
      }
    }
  });
}

namespace {

template <int kHeight, int kWidth, int kOutHeight, int kOutWidth>
void Tile<kHeight, kWidth, kOutHeight, kOutWidth>::run(const Image& of_x, const float* x,
                                                       const Image& of_y, float* y,
                                                       const Window& window, const float* weight,
                                                       const float* bias, const float* lower) {
  // Tiles that are taken through all steps together: what they are spread to stays in the cache.
  constexpr int64_t kMost = (kIn > 9 ? 4 : 8) * kPixels;
  const int64_t panels = panels_of(of_y), channels = of_x.channels;
  const int64_t down = (of_y.height + kOutHeight - 1) / kOutHeight;
  const int64_t across = (of_y.width + kOutWidth - 1) / kOutWidth;
  const int64_t tiles = of_y.images * down * across;
  const int64_t most = balanced_block(tiles, kMost);
  const int64_t step = most * channels, wide = panels * kPanel, out_step = most * wide;
  const std::vector<float> zeros(channels);
  at::parallel_for(0, (tiles + most - 1) / most, 1, [&](int64_t first, int64_t last) {
    std::vector<float> v(kIn * step), m(kIn * out_step);
    for (int64_t block = first; block < last; ++block) {
      const int64_t count = std::min(most, tiles - block * most);
      float* out[kMost][kOut];
      for (int64_t t = 0; t < count; ++t) {
        const int64_t at = block * most + t, image = at / (down * across);
        const int64_t top = at / across % down * kOutHeight, left = at % across * kOutWidth;
        const float* rows[kIn];
        for (int i = 0; i < kIn; ++i)
          rows[i] = place(of_x, x, image, top - window.pad_y + i / kWidth,
                          left - window.pad_x + i % kWidth, zeros.data());
        for (int i = 0; i < kOut; ++i)
          out[t][i] = place(of_y, y, image, top + i / kOutWidth, left + i % kOutWidth,
                            static_cast<float*>(nullptr));
        spread_all(rows, channels, v.data() + t * channels, step);
      }
      for (int64_t e = 0; e < kIn; ++e) {
        for (int64_t panel = 0; panel < panels; ++panel) {
          const float* b = weight + (e * panels + panel) * channels * kPanel;
          for (int64_t t = 0; t < count; t += kPixels)
            product_tile(v.data() + e * step + t * channels, channels, b,
                         m.data() + e * out_step + t * wide + panel * kPanel, wide);
        }
      }
      for (int64_t t = 0; t < count; ++t) {
        for (int64_t channel = 0; channel < of_y.channels; channel += kPanel) {
          float* to[kOut];
          for (int i = 0; i < kOut; ++i)
            to[i] = out[t][i] == nullptr ? nullptr : out[t][i] + channel;
          gather_all(m.data() + t * wide + channel, out_step, bias + channel, lower + channel, to,
                     std::min(kPanel, of_y.channels - channel));
        }
      }
    }
  });
}

}  // namespace

int64_t winograd_numbers(const Window& w, int64_t out_height, int64_t out_width) {
  const int64_t height = w.height + out_height - 1, width = w.width + out_width - 1;
  const auto is = [&](int64_t h, int64_t v, int64_t oh, int64_t ov) {
    return height == h && width == v && out_height == oh && out_width == ov;
  };
  const bool known = is(6, 6, 4, 4) || is(6, 6, 2, 2) || is(1, 6, 1, 4) || is(6, 1, 4, 1) ||
                     is(1, 9, 1, 3) || is(9, 1, 3, 1);
  return known && w.stride == 1 ? height * width : 0;
}

void convolution_winograd(const Image& of_x, const float* x, const Image& of_y, float* y,
                          const Window& window, int64_t out_height, int64_t out_width,
                          const float* weight, const float* bias, const float* lower) {
  const auto run = [&](auto tile) { tile.run(of_x, x, of_y, y, window, weight, bias, lower); };
  const int64_t height = window.height + out_height - 1, width = window.width + out_width - 1;
  if (out_height == 4 && out_width == 4) {
    run(Tile<6, 6, 4, 4>());
  } else if (out_height == 2 && out_width == 2) {
    run(Tile<6, 6, 2, 2>());
  } else if (height == 1 && width == 6) {
    run(Tile<1, 6, 1, 4>());
  } else if (height == 6 && width == 1) {
    run(Tile<6, 1, 4, 1>());
  } else if (height == 1) {
    run(Tile<1, 9, 1, 3>());
  } else {
    run(Tile<9, 1, 3, 1>());
  }
}
#else
bool convolution_serves() {
  return false;
}

void convolution(const Image&, const float*, const Image&, float*, const Window&, const float*,
                 const float*, const float*) {}

int64_t winograd_numbers(const Window&, int64_t, int64_t) {
  return 0;
}

void convolution_winograd(const Image&, const float*, const Image&, float*, const Window&, int64_t,
                          int64_t, const float*, const float*, const float*) {}
#endif

}  // namespace ganfast::cpu

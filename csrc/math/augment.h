// The augmentation of a sample: y_chw = a x_c + b mean_c x + c mean x + d, read at a shifted pixel,
// with zero where there is none and inside a box that is cut out.
//
// Brightness beta, saturation s about each pixel's mean and contrast k about the sample's mean,
// one after the other, are
//   a = k s,  b = k (1 - s),  c = 1 - k,  d = beta
// as neither of the last two moves the sample's mean. Each of the three matrices is symmetric, so
// the adjoint of the linear part shifts back what is not cut out, and then mixes with the same
// a, b, c.
#pragma once

#include <cstdint>

#include "scalar.h"

namespace ganfast {

struct AugmentPieces {
  bool color, translation, cutout;
};

enum class AugmentMap { affine, linear, adjoint };

// Numbers that are drawn for a sample, uniform in [0, 1): brightness, saturation, contrast, shift
// and centre of the box (each of height and width). An eighth one, where it is there, leaves the
// sample alone unless it is negative.
constexpr int kAugmentDraws = 7;

template <class T>
struct Augmentation {
  bool mixes;  // else a = 1, b = c = d = 0
  T a, b, c, d;
  int shift_h, shift_w;          // y_hw is made from x_(h + shift_h)(w + shift_w)
  int top, bottom, left, right;  // the box in y
};

// floor(u n), of the first 24 binary digits of u, as the reference has it on every device
GANFAST_HD int draw_below(float u, int n) {
  const int64_t drawn = (static_cast<int64_t>(u * 0x1p24f) * n) >> 24;
  return static_cast<int>(drawn < 0 ? 0 : drawn < n ? drawn : n - 1);
}

// Half of a side, whose middle may be anywhere in the image.
GANFAST_HD void draw_cut(float u, int side, int& begin, int& end) {
  const int size = (side + 1) / 2;
  begin = draw_below(u, side + 1 - size % 2) - size / 2;
  end = begin + size;
}

// Up to an eighth of a side, either way.
GANFAST_HD int draw_shift(float u, int side) {
  const int most = (side + 4) / 8;
  return draw_below(u, 2 * most + 1) - most;
}

// The augmentation of the sample that has drawn u[0..draws). Its adjoint is one, too: the opposite
// shift, with the box where the shift moves it.
template <class T>
GANFAST_HD Augmentation<T> augmentation_of(AugmentMap map, AugmentPieces pieces, const float* u,
                                           int draws, int height, int width) {
  Augmentation<T> y{false, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  if (draws > kAugmentDraws && !(u[kAugmentDraws] < 0)) return y;
  if (pieces.color) {
    const T saturation = 2 * T(u[1]), contrast = T(u[2]) + T(0.5);
    y.mixes = true;
    y.a = contrast * saturation;
    y.b = contrast * (1 - saturation);
    y.c = 1 - contrast;
    if (map == AugmentMap::affine) y.d = T(u[0]) - T(0.5);
  }
  if (pieces.translation) {
    y.shift_h = draw_shift(u[3], height);
    y.shift_w = draw_shift(u[4], width);
  }
  if (pieces.cutout) {
    draw_cut(u[5], height, y.top, y.bottom);
    draw_cut(u[6], width, y.left, y.right);
  }
  if (map == AugmentMap::adjoint) {
    y.top += y.shift_h, y.bottom += y.shift_h;
    y.left += y.shift_w, y.right += y.shift_w;
    y.shift_h = -y.shift_h;
    y.shift_w = -y.shift_w;
  }
  return y;
}

}  // namespace ganfast

// y = clip(gain lrelu(x), -clamp, clamp), with two bits for each element that tell its slope: 0
// where it is gain, 1 where it is gain alpha, 2 where it is 0. Four elements make a byte, the first
// in its lowest bits.
#pragma once

#include "bias_act.h"

namespace ganfast {

template <class T>
struct LeakyReluMask {
  using C = Compute<T>;
  static constexpr int kOfByte = 4;

  BiasAct<LeakyRelu<C>, T> act;

  static LeakyReluMask of(double alpha, double gain, double clamp) {
    return {BiasAct<LeakyRelu<C>, T>::of({C(alpha)}, gain, clamp)};
  }

  // Writes y and returns its two bits, those of what is stored: bias_act has the same gradients.
  GANFAST_HD uint8_t value(T x, T& y) const {
    store(y, act.value(load(x)));
    const C held = load(y);
    return act.clipped(held) ? 2 : act.recovered(held) > C(0) ? 0 : 1;
  }

  GANFAST_HD void times_slope(T v, uint8_t bits, T& y) const {
    const C slope = bits == 0 ? act.gain : bits == 1 ? act.gain * act.f.alpha : C(0);
    store(y, slope * load(v));
  }
};

}  // namespace ganfast

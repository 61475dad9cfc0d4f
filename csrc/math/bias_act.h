// y = clip(gain f(x + b), -clamp, clamp) element by element, with what its derivatives are made of.
//
// The derivatives are written in what a forward pass leaves: in the result y, from which s = y /
// gain is f(v), or where that does not tell f', in v = x + b itself. An element with |y| = clamp
// counts as clipped, whichever way it came there, so that y alone tells.
#pragma once

#include <cstdint>

#include "elementary.h"

namespace ganfast {

enum class Activation { linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish };

struct BiasActParameters {
  Activation activation;
  double alpha, gain, clamp;  // no clamp: NaN
};

// Are the derivatives taken from x and b, rather than from y? A negative slope leaves the sign of v
// unknown.
inline bool from_input(const BiasActParameters& p) {
  return p.activation == Activation::swish ||
         (p.activation == Activation::lrelu && !(p.alpha >= 0));
}

// Is f'' other than zero?
inline bool is_curved(Activation activation) {
  return activation >= Activation::tanh;
}

// The functions f. `slope` is f' and `bend` the derivative of slope, both in s = f(v), or with
// kFromInput in v.

// v for v > 0, else alpha v; with alpha = 1 linear
template <class T>
struct LeakyRelu {
  static constexpr bool kFromInput = false, kCurved = false;
  T alpha;
  GANFAST_HD T value(T v) const { return v > T(0) ? v : alpha * v; }
  GANFAST_HD T slope(T s) const { return s > T(0) ? T(1) : alpha; }
};

template <class T>
struct LeakyReluOfInput : LeakyRelu<T> {
  static constexpr bool kFromInput = true;
};

// max(v, 0), which alpha = 0 does not give for v = -inf
template <class T>
struct Relu {
  static constexpr bool kFromInput = false, kCurved = false;
  GANFAST_HD T value(T v) const { return v <= T(0) ? T(0) : v; }
  GANFAST_HD T slope(T s) const { return s > T(0) ? T(1) : T(0); }
};

// (1 - e^-2v) / (1 + e^-2v)
template <class T>
struct Tanh {
  static constexpr bool kFromInput = false, kCurved = true;
  GANFAST_HD T value(T v) const {
    const T less = expm1_nonpositive(v < T(0) ? v + v : T(-2) * v);
    const T size = quotient(less, T(2) + less);
    return v < T(0) ? size : -size;
  }
  GANFAST_HD T slope(T s) const { return T(1) - s * s; }
  GANFAST_HD T bend(T s) const { return T(-2) * s; }
};

// 1 / (1 + e^-v)
template <class T>
struct Sigmoid {
  static constexpr bool kFromInput = false, kCurved = true;
  GANFAST_HD T value(T v) const {
    const T e = exp_nonpositive(v < T(0) ? v : -v);
    return quotient(v < T(0) ? e : T(1), T(1) + e);
  }
  GANFAST_HD T slope(T s) const { return s * (T(1) - s); }
  GANFAST_HD T bend(T s) const { return T(1) - T(2) * s; }
};

// scale v for v >= 0, else scale alpha (e^v - 1): elu and selu
template <class T>
struct Elu {
  static constexpr bool kFromInput = false, kCurved = true;
  T scale, alpha;
  GANFAST_HD T value(T v) const {
    return scale * (v >= T(0) ? v : alpha * expm1_nonpositive(v < T(0) ? v : T(0) * v));
  }
  GANFAST_HD T slope(T s) const { return s >= T(0) ? scale : s + scale * alpha; }
  GANFAST_HD T bend(T s) const { return s >= T(0) ? T(0) : T(1); }
};

// log(1 + e^v), whose slope is 1 - e^-s
template <class T>
struct SoftplusOfBias {
  static constexpr bool kFromInput = false, kCurved = true;
  GANFAST_HD T value(T v) const {
    return (T(0) > v ? T(0) : v) + log1p_unit(exp_nonpositive(v < T(0) ? v : -v));
  }
  GANFAST_HD T slope(T s) const { return -expm1_nonpositive(-s); }
  GANFAST_HD T bend(T s) const { return exp_nonpositive(-s); }
};

// v sigma(v)
template <class T>
struct Swish {
  static constexpr bool kFromInput = true, kCurved = true;
  GANFAST_HD static T sigma(T v) { return Sigmoid<T>{}.value(v); }
  GANFAST_HD T value(T v) const { return v * sigma(v); }
  GANFAST_HD T slope(T v) const { return sigma(v) * (T(1) + v * sigma(-v)); }
  GANFAST_HD T bend(T v) const {
    return sigma(v) * sigma(-v) * (T(2) + v * (sigma(-v) - sigma(v)));
  }
};

// An activation between its bias and its clip, of elements stored as T.
template <class F, class T>
struct BiasAct {
  using C = Compute<T>;
  F f;
  C gain;
  C of_y;   // s = y / of_y, or where its sign tells all, y of_y
  C bound;  // no clamp: NaN, which nothing exceeds

  // With gain 0 any s will do, as all derivatives are 0. The loops have no condition on the gain:
  // the compiler would make two of them, and vectorize one.
  static BiasAct of(F f, double gain, double clamp) {
    const C sign = gain < 0 ? C(-1) : C(1);
    return {f, C(gain), F::kCurved && gain != 0 ? C(gain) : sign, stored(C(clamp))};
  }

  GANFAST_HD C clip(C y) const { return y < -bound ? -bound : y > bound ? bound : y; }
  GANFAST_HD static C stored(C y) {
    T held;
    store(held, y);
    return load(held);
  }
  GANFAST_HD bool clipped(C y) const { return y <= -bound || y >= bound; }

  GANFAST_HD C value(C v) const { return clip(gain * f.value(v)); }
  GANFAST_HD C recovered(C y) const { return F::kCurved ? y / of_y : y * of_y; }

  // dy/dv from what is saved: y, or v
  GANFAST_HD C slope(C saved) const {
    if constexpr (F::kFromInput) {
      return clipped(stored(value(saved))) ? C(0) : gain * f.slope(saved);
    } else {
      return clipped(saved) ? C(0) : gain * f.slope(recovered(saved));
    }
  }
  // The derivative of `slope` in what is saved.
  GANFAST_HD C bend(C saved) const {
    if constexpr (F::kFromInput) {
      return clipped(stored(value(saved))) ? C(0) : gain * f.bend(saved);
    } else {
      return clipped(saved) ? C(0) : f.bend(recovered(saved));
    }
  }
};

// The three passes over the elements. at(i, b, c) takes element i, with the numbers of its channel,
// and gives what is summed over a channel, if kSums.

template <class T, class F>
struct BiasActForward {
  using C = Compute<T>;
  static constexpr bool kSums = false;
  BiasAct<F, T> f;
  const T* x;
  T* y;

  GANFAST_HD C at(int64_t i, C b, C) const {
    store(y[i], f.value(load(x[i]) + b));
    return C(0);
  }
};

// dx = dy/dv grad, and its sums are those of db
template <class T, class F>
struct BiasActBackward {
  using C = Compute<T>;
  static constexpr bool kSums = true;
  BiasAct<F, T> f;
  const T *grad, *saved;
  T* dx;

  GANFAST_HD C at(int64_t i, C b, C) const {
    const C s = F::kFromInput ? load(saved[i]) + b : load(saved[i]);
    const C d = f.slope(s) * load(grad[i]);
    store(dx[i], d);
    return d;
  }
};

// For the cotangents v of dx and c of db: those of grad
template <class T, class F>
struct BiasActTangent {
  using C = Compute<T>;
  static constexpr bool kSums = false;
  BiasAct<F, T> f;
  const T *saved, *v;
  T* d_grad;

  GANFAST_HD C at(int64_t i, C b, C c) const {
    const C s = F::kFromInput ? load(saved[i]) + b : load(saved[i]);
    store(d_grad[i], f.slope(s) * (load(v[i]) + c));
    return C(0);
  }
};

// and those of what is saved, whose sums are b's where x is saved
template <class T, class F>
struct BiasActCurvature {
  using C = Compute<T>;
  static constexpr bool kSums = F::kFromInput;
  BiasAct<F, T> f;
  const T *grad, *saved, *v;
  T *d_grad, *d_saved;

  GANFAST_HD C at(int64_t i, C b, C c) const {
    const C s = F::kFromInput ? load(saved[i]) + b : load(saved[i]), w = load(v[i]) + c;
    store(d_grad[i], f.slope(s) * w);
    const C d = f.bend(s) * load(grad[i]) * w;
    store(d_saved[i], d);
    return d;
  }
};

// Calls body(f) with the BiasAct of the parameters, for elements stored as T.
template <class T, class Body>
void with_activation(const BiasActParameters& p, Body&& body) {
  using C = Compute<T>;
  const auto call = [&](auto f) { body(BiasAct<decltype(f), T>::of(f, p.gain, p.clamp)); };
  switch (p.activation) {
    case Activation::linear:
      return call(LeakyRelu<C>{C(1)});
    case Activation::relu:
      return call(Relu<C>{});
    case Activation::lrelu:
      return from_input(p) ? call(LeakyReluOfInput<C>{{C(p.alpha)}})
                           : call(LeakyRelu<C>{C(p.alpha)});
    case Activation::tanh:
      return call(Tanh<C>{});
    case Activation::sigmoid:
      return call(Sigmoid<C>{});
    case Activation::elu:
      return call(Elu<C>{C(1), C(1)});
    case Activation::selu:
      return call(Elu<C>{C(1.0507009873554804934), C(1.6732632423543772848)});
    case Activation::softplus:
      return call(SoftplusOfBias<C>{});
    case Activation::swish:
      return call(Swish<C>{});
  }
}

// What a pass reads and writes. What is not there is null: numbers of channels b and c; sums that
// are not wanted; grad and d_saved in a double backward that gives d_grad alone.
struct BiasActPass {
  enum { forward, backward, double_backward } order;
  const void *grad, *saved, *v;  // in a forward, saved is x
  const void *b, *c;
  void* out;      // y, dx or d_grad
  void* d_saved;  // in a double backward
  void* sums;     // db, or d_b
};

// Calls run.operator()<T>(body) with the body of a pass, for elements stored as T.
template <class Run>
void with_pass(const BiasActParameters& p, DType dtype, const BiasActPass& pass, Run run) {
  with_dtype(dtype, [&]<class T>() {
    with_activation<T>(p, [&]<class F>(const BiasAct<F, T>& f) {
      const auto *grad = static_cast<const T*>(pass.grad), *v = static_cast<const T*>(pass.v),
                 *saved = static_cast<const T*>(pass.saved);
      auto *out = static_cast<T*>(pass.out), *d_saved = static_cast<T*>(pass.d_saved);
      if (pass.order == BiasActPass::forward)
        return run.template operator()<T>(BiasActForward<T, F>{f, saved, out});
      if (pass.order == BiasActPass::backward)
        return run.template operator()<T>(BiasActBackward<T, F>{f, grad, saved, out});
      if constexpr (F::kCurved) {
        if (grad != nullptr)
          return run.template operator()<T>(
              BiasActCurvature<T, F>{f, grad, saved, v, out, d_saved});
      }
      run.template operator()<T>(BiasActTangent<T, F>{f, saved, v, out});
    });
  });
}

}  // namespace ganfast

// The functors f of both list families, each with its first and second derivative in d = x - y, or
// in x where there is no y.
//
// A new loss is one functor here and one row in the table at the end.
#pragma once

#include <string_view>

#include "elementary.h"

namespace ganfast {

// f = log(1 + e^(a x)): the non-saturating (logistic) loss with a = -1 for real, +1 for fake logits
template <class T>
struct Softplus {
  T a, b;

  GANFAST_HD T f(T x) const {
    const T y = a * x;
    return (T(0) > y ? T(0) : y) + log1p_unit(exp_nonpositive(y < T(0) ? y : -y));
  }
  // a sigmoid(a x)
  GANFAST_HD T df(T x) const {
    const T y = a * x;
    const T e = exp_nonpositive(y < T(0) ? y : -y);
    return quotient(a * (y < T(0) ? e : T(1)), T(1) + e);
  }
  // a^2 sigmoid(a x) sigmoid(-a x)
  GANFAST_HD T d2f(T x) const {
    const T y = a * x;
    const T e = exp_nonpositive(y < T(0) ? y : -y);
    return quotient(a * a * e, (T(1) + e) * (T(1) + e));
  }
};

// f = (1 - a) x + log(1 + e^-x): binary cross-entropy of the logit x with the target a; for a
// negative x written as -a x + log(1 + e^x), as the first form loses f where it is small
template <class T>
struct BceWithLogits {
  T a, b;

  GANFAST_HD T f(T x) const {
    return (x < T(0) ? -a : T(1) - a) * x + log1p_unit(exp_nonpositive(x < T(0) ? x : -x));
  }
  // sigmoid(x) - a = (1 - a - a e) / (1 + e) with e = e^-x, and with e = e^x the same turned round:
  // no cancellation
  GANFAST_HD T df(T x) const {
    const T e = exp_nonpositive(x < T(0) ? x : -x);
    return quotient(x < T(0) ? (T(1) - a) * e - a : T(1) - a - a * e, T(1) + e);
  }
  GANFAST_HD T d2f(T x) const { return Softplus<T>{T(1), T(0)}.d2f(x); }
};

// f = -a log(x) - (1 - a) log(1 - x): binary cross-entropy of the probability x with the target a.
// The logarithms are clamped at -100 and the gradient's denominator at 1e-12, as torch.nn.BCELoss
// does.
template <class T>
struct Bce {
  T a, b;

  GANFAST_HD static T clamped(T logarithm) { return logarithm < T(-100) ? T(-100) : logarithm; }
  GANFAST_HD static T variance(T x) {
    const T v = (T(1) - x) * x;
    return v < T(1e-12) ? T(1e-12) : v;
  }

  GANFAST_HD T f(T x) const {
    return (a - T(1)) * clamped(log1m(x)) - a * clamped(log_nonnegative(x));
  }
  // (x - a) / (x (1 - x))
  GANFAST_HD T df(T x) const { return (x - a) / variance(x); }
  // (x^2 - 2 a x + a) / (x (1 - x))^2
  GANFAST_HD T d2f(T x) const { return (x * (x - a) + a * (T(1) - x)) / variance(x) / variance(x); }
};

// f = (x - a)^2: least squares with the target a
template <class T>
struct Square {
  T a, b;

  GANFAST_HD T f(T x) const { return (x - a) * (x - a); }
  GANFAST_HD T df(T x) const { return T(2) * (x - a); }
  GANFAST_HD T d2f(T) const { return T(2); }
};

// f = x: Wasserstein
template <class T>
struct Identity {
  T a, b;

  GANFAST_HD T f(T x) const { return x; }
  GANFAST_HD T df(T) const { return T(1); }
  GANFAST_HD T d2f(T) const { return T(0); }
};

// f = relu(b + a x): hinge with margin b and a = -1 for real, +1 for fake logits. The comparisons
// let NaN through.
template <class T>
struct Hinge {
  T a, b;

  GANFAST_HD T f(T x) const {
    const T y = b + a * x;
    return T(0) > y ? T(0) : y;  // in this order one instruction
  }
  GANFAST_HD T df(T x) const { return b + a * x <= T(0) ? T(0) : a; }
  GANFAST_HD T d2f(T) const { return T(0); }
};

// f = relu(b + a x)^2: one-sided squared distance, of LeCam
template <class T>
struct SquaredHinge {
  T a, b;

  GANFAST_HD T f(T x) const {
    const T y = Hinge<T>{a, b}.f(x);
    return y * y;
  }
  GANFAST_HD T df(T x) const { return T(2) * a * Hinge<T>{a, b}.f(x); }
  GANFAST_HD T d2f(T x) const { return b + a * x <= T(0) ? T(0) : T(2) * a * a; }
};

// f = |x|: L1, with derivative 0 at 0
template <class T>
struct Abs {
  T a, b;

  GANFAST_HD T f(T x) const { return x < T(0) ? -x : x; }
  GANFAST_HD T df(T x) const { return T(x > T(0)) - T(x < T(0)); }
  GANFAST_HD T d2f(T) const { return T(0); }
};

// Name in the op's schema, functor, and whether kernels over differences are compiled for it.
#define GANFAST_FUNCTORS(row)                                                                   \
  row(softplus, Softplus, true) row(bce_with_logits, BceWithLogits, false) row(bce, Bce, false) \
      row(square, Square, true) row(identity, Identity, false) row(hinge, Hinge, true)          \
          row(squared_hinge, SquaredHinge, true) row(l1, Abs, true)

enum class Functor {
#define GANFAST_ROW(name, type, differences) name,
  GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
};

struct FunctorRow {
  std::string_view name;
  bool differences;
};
inline constexpr FunctorRow kFunctors[] = {
#define GANFAST_ROW(name, type, differences) {#name, differences},
    GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
};

}  // namespace ganfast

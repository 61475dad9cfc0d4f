// The functors of L = weight * mean_b phi(s_b; a, b) with s_b = sum_j g_bj^2, each with its first
// and second derivative in s.
//
// Where a norm is zero its derivatives are taken as zero, as torch.norm does. A new penalty is one
// functor here and one row in the table at the end.
#pragma once

#include <cmath>

#include "scalar.h"

namespace ganfast {

// phi = (n - a)^2 with the norm n = sqrt(s + b): WGAN-GP with a = 1
template <class T>
struct CentredNorm {
  T a, b;

  GANFAST_HD T f(T s) const {
    const T d = std::sqrt(s + b) - a;
    return d * d;
  }
  // (n - a) / n
  GANFAST_HD T df(T s) const {
    const T n = std::sqrt(s + b);
    return n == T(0) ? T(0) : (n - a) / n;
  }
  // a / (2 n^3)
  GANFAST_HD T d2f(T s) const {
    const T n = std::sqrt(s + b);
    return n == T(0) ? T(0) : a / (T(2) * n * n * n);
  }
};

// phi = relu(n - a)^2 with n = sqrt(s + b): WGAN-LP with a = 1. The comparisons let NaN through.
template <class T>
struct OneSidedNorm {
  T a, b;

  GANFAST_HD bool inside(T s) const { return std::sqrt(s + b) <= a; }
  GANFAST_HD T f(T s) const { return inside(s) ? T(0) : CentredNorm<T>{a, b}.f(s); }
  GANFAST_HD T df(T s) const { return inside(s) ? T(0) : CentredNorm<T>{a, b}.df(s); }
  GANFAST_HD T d2f(T s) const { return inside(s) ? T(0) : CentredNorm<T>{a, b}.d2f(s); }
};

// phi = s: R1 and R2; and, where the largest s_b stands in for the mean, MaxGP
template <class T>
struct SquaredNorm {
  T a, b;

  GANFAST_HD T f(T s) const { return s; }
  GANFAST_HD T df(T) const { return T(1); }
  GANFAST_HD T d2f(T) const { return T(0); }
};

// phi = s^a: WGAN-div with a = p / 2
template <class T>
struct PowerNorm {
  T a, b;

  GANFAST_HD T f(T s) const { return std::pow(s, a); }
  // a s^(a - 1)
  GANFAST_HD T df(T s) const { return s == T(0) && a < T(1) ? T(0) : a * std::pow(s, a - T(1)); }
  // a (a - 1) s^(a - 2)
  GANFAST_HD T d2f(T s) const {
    return s == T(0) && a < T(2) ? T(0) : a * (a - T(1)) * std::pow(s, a - T(2));
  }
};

// name in the op's schema, functor
#define GANFAST_NORM_FUNCTORS(row)                                                \
  row(centred, CentredNorm) row(one_sided, OneSidedNorm) row(square, SquaredNorm) \
      row(power, PowerNorm) row(maximum, SquaredNorm)

enum class NormFunctor {
#define GANFAST_ROW(name, type) name,
  GANFAST_NORM_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
};

// Calls body.operator()<Functor>() with the functor of a row.
template <class Body>
void with_functor(NormFunctor functor, Body&& body) {
  switch (functor) {
#define GANFAST_ROW(name, type) \
  case NormFunctor::name:       \
    return body.template operator()<type>();
    GANFAST_NORM_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  }
  __builtin_unreachable();
}

}  // namespace ganfast

// The functors of L = weight * mean_p phi(s_p; a, b) over sums of squares s_p, each with its first
// and second derivative in s.
//
// Where a norm is zero, its derivatives are taken as zero, as torch.norm does. A new penalty is one
// functor here and one row in the table at the end.
#pragma once

#include <cmath>
#include <string_view>

#include "scalar.h"

namespace ganfast {

// A functor's value, first and second derivative.
template <class T>
struct Orders {
  T f, df, d2f;
};

// phi = (n - a)^2 with the norm n = sqrt(s + b): WGAN-GP with a = 1
// phi' = (n - a) / n,  phi'' = a / (2 n^3)
template <class T>
struct CentredNorm {
  T a, b;

  GANFAST_HD Orders<T> operator()(T s) const {
    const T n = std::sqrt(s + b), d = n - a;
    const T inverse = n == T(0) ? T(0) : T(1) / n;
    return {d * d, d * inverse, a / T(2) * inverse * inverse * inverse};
  }
};

// phi = relu(n - a)^2 with n = sqrt(s + b): WGAN-LP with a = 1. The comparison lets NaN through.
template <class T>
struct OneSidedNorm {
  T a, b;

  GANFAST_HD Orders<T> operator()(T s) const {
    const Orders<T> outside = CentredNorm<T>{a, b}(s);
    const bool inside = std::sqrt(s + b) <= a;
    return {inside ? T(0) : outside.f, inside ? T(0) : outside.df, inside ? T(0) : outside.d2f};
  }
};

// phi = s: R1 and R2
template <class T>
struct SquaredNorm {
  T a, b;

  GANFAST_HD Orders<T> operator()(T s) const { return {s, T(1), T(0)}; }
};

// phi = s^a: WGAN-div with a = p / 2
// phi' = a s^(a - 1),  phi'' = a (a - 1) s^(a - 2)
template <class T>
struct PowerNorm {
  T a, b;

  GANFAST_HD Orders<T> operator()(T s) const {
    return {std::pow(s, a), s == T(0) && a < T(1) ? T(0) : a * std::pow(s, a - T(1)),
            s == T(0) && a < T(2) ? T(0) : a * (a - T(1)) * std::pow(s, a - T(2))};
  }
};

// Name in the op's schema, functor. `identity` returns the s_p themselves.
#define GANFAST_PHIS(row)                                                           \
  row(identity, SquaredNorm) row(centred, CentredNorm) row(one_sided, OneSidedNorm) \
      row(square, SquaredNorm) row(power, PowerNorm)

enum class Phi {
#define GANFAST_ROW(name, type) name,
  GANFAST_PHIS(GANFAST_ROW)
#undef GANFAST_ROW
};

inline constexpr std::string_view kPhis[] = {
#define GANFAST_ROW(name, type) #name,
    GANFAST_PHIS(GANFAST_ROW)
#undef GANFAST_ROW
};

// Calls body.operator()<F>() with the functor of a row, a template of one type.
template <class Body>
void with_phi(Phi phi, Body body) {
  switch (phi) {
#define GANFAST_ROW(name, type) \
  case Phi::name:               \
    return body.template operator()<type>();
    GANFAST_PHIS(GANFAST_ROW)
#undef GANFAST_ROW
  }
  __builtin_unreachable();
}

}  // namespace ganfast

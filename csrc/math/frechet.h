// The elementwise parts of the polar iteration X <- X (a I + b G + c G^2) with G = X^T X, between
// its matrix products.
//
// Every singular value s of X goes to s (a + b s^2 + c s^4); with the minimax coefficients of
// ganfast/metrics/polar.py all of them go to 1, and X to the polar factor of where it started.
#pragma once

#include "scalar.h"

namespace ganfast {

struct Quintic {
  double a, b, c;
};

// The polynomial of X / f, as coefficients for X, given |G|_F^2 =: f^4 or null for f = 1. As
// |X|_2^2 = |G|_2 <= |G|_F, the singular values of X / f are in [0, 1].
GANFAST_HD Quintic scaled(const Quintic& p, const double* square_of_gram) {
  if (square_of_gram == nullptr || *square_of_gram == 0) return p;
  const double f2 = __builtin_sqrt(*square_of_gram), f = __builtin_sqrt(f2);
  return {p.a / f, p.b / (f * f2), p.c / (f * f2 * f2)};
}

// 1 / |A|_F, or 1 for A = 0, which stays 0
GANFAST_HD double inverse_norm(double square) {
  return square == 0 ? 1.0 : 1.0 / __builtin_sqrt(square);
}

// One entry of <X, Y>
struct Inner {
  GANFAST_HD static double of(double x, double y) { return x * y; }
};

// One entry of |X - Y|_F^2
struct SquaredDistance {
  GANFAST_HD static double of(double x, double y) { return (x - y) * (x - y); }
};

enum class PairSum { inner, squared_distance };

// Calls body.operator()<F, T>() with the functor and the storage type, float or double.
template <class Body>
void with_pair_sum(PairSum sum, DType dtype, Body body) {
  const bool wide = dtype == DType::float64;
  if (sum == PairSum::inner) {
    wide ? body.template operator()<Inner, double>() : body.template operator()<Inner, float>();
  } else {
    wide ? body.template operator()<SquaredDistance, double>()
         : body.template operator()<SquaredDistance, float>();
  }
}

// Calls body.operator()<T>() with float or double.
template <class Body>
void with_width(DType dtype, Body body) {
  dtype == DType::float64 ? body.template operator()<double>() : body.template operator()<float>();
}

}  // namespace ganfast

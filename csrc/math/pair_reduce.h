// The functors of L = sum_k w_k * mean_i h(x_ki, y_ki; a_k, b_k).
//
// Every h is a function f of the difference alone, so that dh/dx = f'(x - y) and dh/dy = -dh/dx: a
// row of the table names f, which is a functor of one variable.
#pragma once

#include "unary_reduce.h"

namespace ganfast {

// f = |d|: L1, with derivative 0 at 0
template <class T>
struct Abs {
  T a, b;

  GANFAST_HD T f(T d) const { return d < T(0) ? -d : d; }
  GANFAST_HD T df(T d) const { return T(d > T(0)) - T(d < T(0)); }
  GANFAST_HD T d2f(T) const { return T(0); }
};

// name in the op's schema, functor of x - y
#define GANFAST_PAIR_FUNCTORS(row) \
  row(l1, Abs) row(square, Square) row(softplus, Softplus) row(hinge, Hinge)

enum class PairFunctor {
#define GANFAST_ROW(name, type) name,
  GANFAST_PAIR_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
};

// Calls body.operator()<Functor>() with the functor of a row.
template <class Body>
auto with_functor(PairFunctor functor, Body&& body) {
  switch (functor) {
#define GANFAST_ROW(name, type) \
  case PairFunctor::name:       \
    return body.template operator()<type>();
    GANFAST_PAIR_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  }
  __builtin_unreachable();
}

}  // namespace ganfast

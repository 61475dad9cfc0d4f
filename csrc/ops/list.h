// What the kernels of both list families read: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/functors.h"
#include "workspace.h"

namespace ganfast {

// What is subtracted from x: nothing; y_k like x_k; or, in flat, one number of type Compute<dtype>.
enum class Subtrahend { none, same, number };

// One term of a list. Derivatives write those of `dx` and `dy` that are not null; cotangents that
// are null are zeros.
struct Term {
  const void* x;   // of the list's dtype
  const void* y;   // see Subtrahend
  const void* vx;  // like x: cotangent of the first-order dx
  const void* vy;  // like y: cotangent of the first-order dy
  void* dx;        // like x: gradient with respect to x
  void* dy;        // like y: gradient with respect to y
  int64_t n;       // of flat, elements of x; of rows, elements that are summed for each position
  double weight;   // w_k / n
  double a, b;     // the functor's parameters
  const void* sample_weight;  // of rows, s_kp (positions) of type Compute<dtype>, or null for ones
  const void* sample_a;       // of rows, (positions) in place of a, of the same type, or null
};

struct List {
  Functor functor;
  DType dtype;
  Subtrahend subtrahend;
  std::span<const Term> terms;
};

template <class F>
F functor_of(const Term& term) {
  using C = decltype(F::a);
  return {static_cast<C>(term.a), static_cast<C>(term.b)};
}

// Calls body.operator()<F, T, kind>() with the types of a list. Differences are compiled for the
// functors that take them; those from a number, where `numbers` are taken. No others must come.
template <bool numbers, class Body>
void with_list(const List& list, Body body) {
  const auto with_kind = [&]<template <class> class F, Subtrahend kind>() {
    with_dtype(list.dtype, [&]<class T>() { body.template operator()<F<Compute<T>>, T, kind>(); });
  };
  const auto with_functor = [&]<template <class> class F, bool differences>() {
    if (list.subtrahend == Subtrahend::none)
      return with_kind.template operator()<F, Subtrahend::none>();
    if constexpr (differences) {
      if (list.subtrahend == Subtrahend::same)
        return with_kind.template operator()<F, Subtrahend::same>();
      if constexpr (numbers) with_kind.template operator()<F, Subtrahend::number>();
    }
  };
  switch (list.functor) {
#define GANFAST_ROW(name, type, differences) \
  case Functor::name:                        \
    return with_functor.template operator()<type, differences>();
    GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  }
}

}  // namespace ganfast

// What the functors of a list are applied to: d = x or x - y, with its cotangent u and gradients.
//
// Each kind reads and writes by way of a share, which is what a thread has at once of a row's
// tensors. d(share) and u(share) return functions of the place in the share.
#pragma once

#include "../ops/list.h"
#include "table.cuh"

namespace ganfast::cuda {

// Zeros where there is no memory.
template <class Share, class T>
__device__ auto load_given(const Share& share, const T* from) {
  return from == nullptr ? share.zeros() : share.load(from);
}

// d = x, u = vx
template <class T>
struct Single {
  static constexpr bool of_number = false;
  using Tile = Share<T>;  // of flat memory

  const T* x;
  const T* vx;  // like x, or null for zeros
  T* dx;        // like x, or null where it is not wanted

  static Single of(const Term& term) {
    return {static_cast<const T*>(term.x), static_cast<const T*>(term.vx),
            static_cast<T*>(term.dx)};
  }

  // 16-byte accesses are allowed.
  bool whole() const { return aligned(x) && aligned(vx) && aligned(dx); }

  template <class Share>
  __device__ auto d(const Share& share) const {
    return [x = share.load(x)](auto... at) { return load(x.at(at...)); };
  }

  template <class Share>
  __device__ auto u(const Share& share) const {
    return [vx = load_given(share, vx)](auto... at) { return load(vx.at(at...)); };
  }

  // Writes the gradients that are wanted, from that of d.
  template <class Share>
  __device__ void store_gradients(const Share& share, const typename Share::Values& values) const {
    if (dx != nullptr) share.store(values, dx);
  }
};

// d = x - y, u = vx - vy, where y and vy are like x, or one number.
template <class T, Subtrahend kind>
struct Difference : Single<T> {
  static constexpr bool of_number = kind == Subtrahend::number;
  using Tile = std::conditional_t<of_number, Share<T, 1>, Share<T>>;
  using Y = std::conditional_t<of_number, Compute<T>, T>;

  const Y* y;
  const Y* vy;  // like y, or null for zeros
  Y* dy;        // like y, or null; for a number a sum over many places, which is left to others

  static Difference of(const Term& term) {
    return {Single<T>::of(term), static_cast<const Y*>(term.y), static_cast<const Y*>(term.vy),
            static_cast<Y*>(term.dy)};
  }

  bool whole() const {
    return Single<T>::whole() && (of_number || (aligned(y) && aligned(vy) && aligned(dy)));
  }

  template <class Share>
  __device__ auto d(const Share& share) const {
    return [x = share.load(this->x), y = load_y<false>(share, y)](auto... at) {
      return load(x.at(at...)) - load(y.at(at...));
    };
  }

  template <class Share>
  __device__ auto u(const Share& share) const {
    return [vx = load_given(share, this->vx), vy = load_y<true>(share, vy)](auto... at) {
      return load(vx.at(at...)) - load(vy.at(at...));
    };
  }

  template <class Share>
  __device__ void store_gradients(const Share& share, typename Share::Values values) const {
    Single<T>::store_gradients(share, values);
    if constexpr (!of_number) {
      if (dy == nullptr) return;
      share.for_each([&](auto... at) { store(values.at(at...), -load(values.at(at...))); });
      share.store(values, dy);
    }
  }

 private:
  struct Number {
    Y value;
    __device__ Y at(int, int) const { return value; }
  };

  template <bool may_be_null, class Share>
  __device__ static auto load_y(const Share& share, const Y* y) {
    if constexpr (of_number) {
      return Number{may_be_null && y == nullptr ? Y(0) : *y};
    } else {
      return may_be_null ? load_given(share, y) : share.load(y);
    }
  }
};

template <class T, Subtrahend kind>
using OperandsOf = std::conditional_t<kind == Subtrahend::none, Single<T>, Difference<T, kind>>;

// Calls body(call) with the Call of the list's types.
template <template <class F, class T, class Operands> class Call, bool numbers, class List,
          class Body>
void with_call(const List& list, const Workspace& workspace, Body body) {
  with_list<numbers>(list, [&]<class F, class T, Subtrahend kind>() {
    body(Call<F, T, OperandsOf<T, kind>>{list, workspace});
  });
}

}  // namespace ganfast::cuda

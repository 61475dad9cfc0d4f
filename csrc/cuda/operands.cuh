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

// d = x - y, u = vx - vy
template <class T>
struct Pair : Single<T> {
  const T* y;   // like x
  const T* vy;  // like x, or null for zeros
  T* dy;        // like x, or null where it is not wanted

  static Pair of(const Term& term) {
    return {Single<T>::of(term), static_cast<const T*>(term.y), static_cast<const T*>(term.vy),
            static_cast<T*>(term.dy)};
  }

  bool whole() const { return Single<T>::whole() && aligned(y) && aligned(vy) && aligned(dy); }

  template <class Share>
  __device__ auto d(const Share& share) const {
    return [x = share.load(this->x), y = share.load(y)](auto... at) {
      return load(x.at(at...)) - load(y.at(at...));
    };
  }

  template <class Share>
  __device__ auto u(const Share& share) const {
    return [vx = load_given(share, this->vx), vy = load_given(share, vy)](auto... at) {
      return load(vx.at(at...)) - load(vy.at(at...));
    };
  }

  template <class Share>
  __device__ void store_gradients(const Share& share, typename Share::Values values) const {
    Single<T>::store_gradients(share, values);
    if (dy == nullptr) return;
    share.for_each([&](auto... at) { store(values.at(at...), -load(values.at(at...))); });
    share.store(values, dy);
  }
};

// d = x - y, u = vx - vy, where y and vy repeat along x. The gradient of y, a sum over many places,
// is left to others.
template <class T>
struct Repeated : Single<T> {
  using Tile = Share<T, 1>;

  const Compute<T>* y;   // (period)
  const Compute<T>* vy;  // (period), or null for zeros
  int64_t period;

  static Repeated of(const Term& term) {
    return {Single<T>::of(term), static_cast<const Compute<T>*>(term.y),
            static_cast<const Compute<T>*>(term.vy), term.period};
  }

  __device__ auto d(const Tile& share) const { return minus(share, share.load(this->x), y); }
  __device__ auto u(const Tile& share) const {
    return minus(share, load_given(share, this->vx), vy);
  }

 private:
  __device__ auto minus(const Tile& share, const typename Tile::Values& x,
                        const Compute<T>* y) const {
    struct {
      Compute<T> values[Pack<T>::size];
      __device__ Compute<T> operator()(int, int j) const { return values[j]; }
    } difference;
    if (y == nullptr || period == 1) {
      const Compute<T> number = y == nullptr ? Compute<T>(0) : *y;
      share.for_each([&](int i, int j) { difference.values[j] = load(x.at(i, j)) - number; });
      return difference;
    }
    int64_t place = share.start % period;
    share.for_each([&](int i, int j) {
      difference.values[j] = load(x.at(i, j)) - y[place];
      if (++place == period) place = 0;
    });
    return difference;
  }
};

template <class T, Subtrahend kind>
using OperandsOf =
    std::conditional_t<kind == Subtrahend::none, Single<T>,
                       std::conditional_t<kind == Subtrahend::same, Pair<T>, Repeated<T>>>;

// Calls body(call) with the Call of the list's types.
template <template <class F, class T, class Operands> class Call, bool may_repeat, class List,
          class Body>
void with_call(const List& list, const Workspace& workspace, Body body) {
  with_list<may_repeat>(list, [&]<class F, class T, Subtrahend kind>() {
    body(Call<F, T, OperandsOf<T, kind>>{list, workspace});
  });
}

}  // namespace ganfast::cuda

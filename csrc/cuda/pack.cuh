// Sixteen bytes of a tensor at once.
#pragma once

#include "../math/scalar.h"
#include "launch.h"

namespace ganfast::cuda {

template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T values[size];

  __device__ T& at(int j) { return values[j]; }
  __device__ const T& at(int j) const { return values[j]; }
};

template <class T>
bool aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(Pack<T>) == 0;
}

template <class T>
__device__ Pack<T> load_whole(const T* from) {
  return *reinterpret_cast<const Pack<T>*>(from);
}

// By an intrinsic, since the compiler stores the members of a struct one by one.
template <class T>
__device__ void store_whole(const Pack<T>& pack, T* to) {
  __stwb(reinterpret_cast<uint4*>(to), bit_cast<uint4>(pack));
}

// The elements from `from` on; past `end` they are left zero. `whole` says that 16-byte accesses
// are allowed.
template <class T>
__device__ Pack<T> load_pack(const T* from, const T* end, bool whole) {
  if (whole && from + Pack<T>::size <= end) return load_whole(from);
  Pack<T> pack{};
  GANFAST_UNROLL
  for (int j = 0; j < Pack<T>::size; ++j) {
    if (from + j < end) pack.values[j] = from[j];
  }
  return pack;
}

template <class T>
__device__ void store_pack(const Pack<T>& pack, T* to, const T* end, bool whole) {
  if (whole && to + Pack<T>::size <= end) {
    store_whole(pack, to);
    return;
  }
  GANFAST_UNROLL
  for (int j = 0; j < Pack<T>::size; ++j) {
    if (to + j < end) to[j] = pack.values[j];
  }
}

}  // namespace ganfast::cuda

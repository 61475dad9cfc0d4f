// Tiles: what a block takes of a tensor at once, and what of that a thread has.
#pragma once

#include <algorithm>

#include "../math/scalar.h"
#include "reduce.cuh"

namespace ganfast::cuda {

// Rows of one launch: a table must fit into 32 KiB of kernel parameters.
constexpr int kMaxRows = 200;
// Several times what the largest GPUs run at once, so that all of one has work to the end; fixed,
// so that sums do not depend on the GPU. Tests on the CPU take fewer, so that each has many tiles.
#ifndef GANFAST_MAX_BLOCKS
#define GANFAST_MAX_BLOCKS 4096
#endif
constexpr int kMaxBlocks = GANFAST_MAX_BLOCKS;
// Those of one block follow each other: of more, a second launch costs less.
constexpr int kMaxTilesOfOneBlock = 8;
// Elements of a tile, for each thread.
constexpr int kElements = 16;
constexpr int64_t kTile = kThreads * kElements;

// Sixteen bytes of a tensor at once.
template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T values[size];
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

// What a thread has of a tile: packs of T, kThreads packs apart from one another.
template <class T, int kPacks = sizeof(T) == 2 ? 2 : 4>
struct Share {
  static constexpr int kStep = kThreads * Pack<T>::size;
  static constexpr int64_t kTile = kPacks * kStep;

  struct Values {
    Pack<T> packs[kPacks];
    __device__ T& at(int i, int j) { return packs[i].values[j]; }
    __device__ const T& at(int i, int j) const { return packs[i].values[j]; }
  };

  bool full;      // 16-byte accesses are allowed, and the tile is all inside the row
  int64_t start;  // of the thread's first pack, in the row
  int left;       // elements of the tile from there on, none if negative

  // Of the tile that begins at `begin` and has `rest` elements of the row before it ends; `whole`
  // says that 16-byte accesses are allowed.
  __device__ Share(int64_t begin, int64_t rest, bool whole) {
    const int first = threadIdx.x * Pack<T>::size;
    full = whole && rest >= kTile;
    start = begin + first;
    left = static_cast<int>(rest < kTile ? rest : kTile) - first;
  }

  __device__ Values zeros() const { return {}; }

  // The share of one of the row's tensors, all of it asked for before the first use; zeros past the
  // end.
  __device__ Values load(const T* tensor) const {
    Values to{};
    const T* from = tensor + start;
    if (full) {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i) to.packs[i] = load_whole(from + i * kStep);
    } else {
      for_each_inside([&](int i, int j) { to.at(i, j) = from[i * kStep + j]; });
    }
    return to;
  }

  __device__ void store(const Values& from, T* tensor) const {
    T* to = tensor + start;
    if (full) {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i) store_whole(from.packs[i], to + i * kStep);
    } else {
      for_each_inside([&](int i, int j) { to[i * kStep + j] = from.at(i, j); });
    }
  }

  // Calls body(i, j) for each element, j of pack i, those past the end too.
  template <class Body>
  __device__ void for_each(Body body) const {
    GANFAST_UNROLL
    for (int i = 0; i < kPacks; ++i) {
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) body(i, j);
    }
  }

  __device__ bool inside(int i, int j) const { return i * kStep + j < left; }

  // Calls body(i, j) for each element inside the row.
  template <class Body>
  __device__ void for_each_inside(Body body) const {
    for_each([&](int i, int j) {
      if (inside(i, j)) body(i, j);
    });
  }
};

// Writes the block's sum to its partial, or as the result where the block is alone.
template <class Result>
__device__ void finish_sum(double sum, double* partial, Result* result) {
  sum = block_sum(sum);
  if (threadIdx.x > 0) return;
  if (result != nullptr) {
    *result = static_cast<Result>(sum);
  } else {
    partial[blockIdx.x] = sum;
  }
}

}  // namespace ganfast::cuda

// How threads share the positions of a list of (outer, size, inner) tensors: few elements of each
// among lanes of a warp, many among blocks.
#pragma once

#include "table.cuh"

namespace ganfast::cuda {

// Elements of a position, in all tensors, up to which lanes of a warp share it.
constexpr int64_t kSmallSample = 1024;

struct Sharing {
  int64_t positions, inner;
  int lanes;   // threads of a warp that share a position; 0 where blocks do
  int splits;  // blocks that share a position

  // As few lanes as have work for a position, one for a pixel; or as many blocks as have work, with
  // all positions no more than fill the largest GPUs.
  template <class List>
  static Sharing of(const List& list) {
    int64_t elements = 0, largest = 1;
    for (const auto& term : list.terms) {
      elements += term.n;
      largest = std::max(largest, term.n);
    }
    int lanes = 0;
    int64_t splits = 1;
    if (list.inner > 1) {
      lanes = 1;
    } else if (elements <= kSmallSample) {
      for (lanes = 1; lanes < kWarp && lanes < largest;) lanes *= 2;
    } else {
      splits = std::clamp<int64_t>(kSharingBlocks / list.outer, 1, (elements + kTile - 1) / kTile);
    }
    return {list.positions(), list.inner, lanes, static_cast<int>(splits)};
  }

  int blocks() const {
    const int64_t threads = lanes == 0 ? positions * splits * kThreads : positions * lanes;
    return static_cast<int>(std::min((threads + kThreads - 1) / kThreads, 4 * kSharingBlocks));
  }
};

// What a thread has at once of a sample that lanes share: elements `step` apart, before `end`.
template <class T>
struct Elements {
  static constexpr int kCount = 2;

  struct Values {
    T values[kCount];
    __device__ T& at(int j) { return values[j]; }
    __device__ const T& at(int j) const { return values[j]; }
  };

  int64_t from, step, end;

  __device__ bool inside(int j) const { return from + j * step < end; }

  template <class Body>
  __device__ void for_each(Body body) const {
    GANFAST_UNROLL
    for (int j = 0; j < kCount; ++j) body(j);
  }

  __device__ Values zeros() const { return {}; }

  __device__ Values load(const T* tensor) const {
    Values to{};
    for_each([&](int j) {
      if (inside(j)) to.at(j) = tensor[from + j * step];
    });
    return to;
  }

  __device__ void store(const Values& values, T* tensor) const {
    for_each([&](int j) {
      if (inside(j)) tensor[from + j * step] = values.at(j);
    });
  }
};

// For each position that this thread has a share of: calls body(row, k, p, for_each_share) for each
// row, where for_each_share(use) calls use(share) for each share that the thread has; then
// finish(p). All threads of a warp call this together, those without a position with one past the
// last.
template <class T, class Rows, class Body, class Finish>
__device__ void for_each_position(const Rows& list, Body body, Finish finish) {
  using Tile = Share<T, 2>;
  const auto [positions, inner, lanes, splits] = list.sharing;
  const bool of_lanes = lanes > 0;
  const int per_block = of_lanes ? kThreads / lanes : 1;
  const int64_t next = int64_t(gridDim.x / splits) * per_block;
  for (int64_t first = int64_t(blockIdx.x / splits) * per_block; first < positions; first += next) {
    const int64_t p = of_lanes ? first + threadIdx.x / lanes : first;
    const int64_t outer = inner == 1 ? p : p / inner;
    // The thread's first element; of blocks the block's next tile, in turns over all rows.
    int64_t start =
        of_lanes ? p - outer * inner + threadIdx.x % lanes : blockIdx.x % splits * Tile::kTile;
    for (int k = 0; p < positions && k < list.count; ++k) {
      const auto& row = list.rows[k];
      body(row, k, p, [&](auto use) {
        const int64_t size = row.size * inner, begin = outer * size, end = begin + size;
        if (of_lanes) {
          const int64_t step = lanes * inner;
          for (int64_t at = begin + start; at < end; at += Elements<T>::kCount * step)
            use(Elements<T>{at, step, end});
          return;
        }
        for (; start < size; start += splits * Tile::kTile)
          use(Tile(begin + start, size - start, row.whole));
        start -= (size + Tile::kTile - 1) / Tile::kTile * Tile::kTile;
      });
    }
    finish(p);
  }
}

}  // namespace ganfast::cuda

// A list of tensors for one launch: the tensors are cut into tiles, and a block takes every
// gridDim.x-th tile.
//
// The table travels as a kernel parameter, so that a CUDA graph keeps it. Sums go through one
// double per block, added up by a second launch; lists of a few tiles run in one block and need no
// second launch.
#pragma once

#include <algorithm>
#include <span>

#include "pack.cuh"
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

// What every family's row starts with; the family adds its pointers and parameters.
struct RowBase {
  int64_t n;           // elements of each of the row's tensors
  bool whole;          // all of the row's pointers allow 16-byte accesses
  int64_t first_tile;  // of the tiles of this launch; set by for_each_table
};

template <class Row>
struct Table {
  Row rows[kMaxRows];
  int count = 0;
  int64_t tiles = 0;

  // The place of the row that a tile belongs to.
  __device__ int index(int64_t tile) const {
    int low = 0;
    for (int high = count; high - low > 1;) {
      const int middle = (low + high) / 2;
      (rows[middle].first_tile <= tile ? low : high) = middle;
    }
    return low;
  }

  __device__ const Row& row(int64_t tile) const { return rows[index(tile)]; }
};

// What a thread has of a tile: packs of T, kThreads packs apart from one another.
template <class T>
struct Share {
  static constexpr int kPacks = kElements / Pack<T>::size;
  static constexpr int kStep = kThreads * Pack<T>::size;

  struct Packs {
    Pack<T> packs[kPacks];
    __device__ T& at(int i, int j) { return packs[i].values[j]; }
    __device__ const T& at(int i, int j) const { return packs[i].values[j]; }
  };

  bool whole;     // 16-byte accesses are allowed
  bool full;      // they are, and the tile is all inside the row
  int64_t start;  // of the thread's first pack, in the row
  int left;       // elements of the tile from there on, none if negative

  __device__ Share(const RowBase& row, int64_t tile) {
    const int64_t begin = (tile - row.first_tile) * kTile, rest = row.n - begin;
    const int first = threadIdx.x * Pack<T>::size;
    whole = row.whole;
    full = whole && rest >= kTile;
    start = begin + first;
    left = static_cast<int>(rest < kTile ? rest : kTile) - first;
  }

  // The share of one of the row's tensors, all of it asked for before the first use; zeros past the
  // end.
  __device__ Packs load(const T* tensor) const {
    Packs to;
    const T* from = tensor + start;
    if (full) {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i) to.packs[i] = load_whole(from + i * kStep);
    } else {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i)
        to.packs[i] = load_pack(from + i * kStep, from + left, whole);
    }
    return to;
  }

  __device__ void store(const Packs& from, T* tensor) const {
    T* to = tensor + start;
    if (full) {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i) store_whole(from.packs[i], to + i * kStep);
    } else {
      GANFAST_UNROLL
      for (int i = 0; i < kPacks; ++i) store_pack(from.packs[i], to + i * kStep, to + left, whole);
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

  // Calls body(i, j) for each element inside the row.
  template <class Body>
  __device__ void for_each_inside(Body body) const {
    for_each([&](int i, int j) {
      if (i * kStep + j < left) body(i, j);
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

// Calls body(table, blocks) for each stretch of terms that one launch can take.
template <class Term, class MakeRow, class Body>
void for_each_table(std::span<const Term> terms, MakeRow make_row, Body body) {
  for (size_t begin = 0; begin < terms.size(); begin += kMaxRows) {
    Table<decltype(make_row(terms[0]))> table;
    for (const Term& term :
         terms.subspan(begin, std::min<size_t>(kMaxRows, terms.size() - begin))) {
      auto& row = table.rows[table.count++] = make_row(term);
      row.first_tile = table.tiles;
      table.tiles += (row.n + kTile - 1) / kTile;
    }
    const bool alone = table.tiles <= kMaxTilesOfOneBlock;
    body(table, alone ? 1 : static_cast<int>(std::min<int64_t>(table.tiles, kMaxBlocks)));
  }
}

// Doubles of scratch memory that sum_over_tables takes.
inline int64_t scratch_for(size_t terms) {
  return (terms + kMaxRows - 1) / kMaxRows * kMaxBlocks;
}

// Runs a summing kernel, run(table, blocks, partial, result or null), over all tables; then the
// second stage.
template <class Term, class MakeRow, class Result, class Run>
void sum_over_tables(std::span<const Term> terms, MakeRow make_row, double* scratch, Result* result,
                     cudaStream_t stream, Run run) {
  int partials = 0;
  for_each_table(terms, make_row, [&](const auto& table, int blocks) {
    const bool alone = blocks == 1 && terms.size() <= kMaxRows;
    run(table, blocks, scratch + partials, alone ? result : nullptr);
    partials += alone ? 0 : blocks;
  });
  if (partials > 0) {
    launch("sum_partials", sum_partials<Result>, 1, kThreads, stream, scratch, partials, result);
  }
}

// A sum for each row: its tiles' partial sums are added up by a block of its own.
struct RowTiles {
  int64_t first[kMaxRows + 1];  // first tile of each row, and the end of the last
};

template <class Result>
__global__ void sum_tiles(const __grid_constant__ RowTiles rows, const double* partial,
                          Result* result) {
  double sum = 0;
  const int64_t end = rows.first[blockIdx.x + 1];
  for (int64_t tile = rows.first[blockIdx.x] + threadIdx.x; tile < end; tile += kThreads) {
    sum += partial[tile];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) result[blockIdx.x] = static_cast<Result>(sum);
}

// Doubles of scratch memory that sum_each_row takes.
template <class Term>
int64_t scratch_for_each_row(std::span<const Term> terms) {
  int64_t tiles = 0;
  for (const Term& term : terms) tiles += (term.n + kTile - 1) / kTile;
  return tiles;
}

// Runs a kernel that sums each tile, run(table, blocks, a partial sum for each tile), over all
// tables; then the second stage, which writes a result for each term.
template <class Term, class MakeRow, class Result, class Run>
void sum_each_row(std::span<const Term> terms, MakeRow make_row, double* scratch, Result* result,
                  cudaStream_t stream, Run run) {
  for_each_table(terms, make_row, [&](const auto& table, int blocks) {
    run(table, blocks, scratch);
    RowTiles rows;
    for (int k = 0; k < table.count; ++k) rows.first[k] = table.rows[k].first_tile;
    rows.first[table.count] = table.tiles;
    launch("sum_tiles", sum_tiles<Result>, table.count, kThreads, stream, rows, scratch, result);
    result += table.count;
    scratch += table.tiles;
  });
}

}  // namespace ganfast::cuda

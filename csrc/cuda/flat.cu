// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on CUDA: one launch for the whole
// list of terms.
#include "../ops/flat.h"

#include <algorithm>

#include "operands.cuh"

namespace ganfast::cuda {
namespace {

// As kBlocksOfProcessor: four tensors' shares of double leave registers for one block.
constexpr int kBlocksOfFourShares = 1;

template <class F, class T, class Operands>
struct Row {
  Operands of;  // tensors of n elements
  int64_t n;
  int64_t first_tile;  // of the tiles of this launch
  double weight;
  F functor;
  bool whole;  // 16-byte accesses are allowed

  using Tile = typename Operands::Tile;

  __device__ Tile share(int64_t tile) const {
    const int64_t begin = (tile - first_tile) * Tile::kTile;
    return {begin, n - begin, whole};
  }
};

// A stretch of the list, for one launch.
template <class F, class T, class Operands>
struct Rows {
  Row<F, T, Operands> rows[kMaxRows];
  int count = 0;
  int64_t tiles = 0;
  size_t first = 0;  // place of the first row among all terms

  // The place of the row that a tile belongs to.
  __device__ int index(int64_t tile) const {
    int low = 0;
    for (int high = count; high - low > 1;) {
      const int middle = (low + high) / 2;
      (rows[middle].first_tile <= tile ? low : high) = middle;
    }
    return low;
  }

  // The end of a row's tiles.
  __device__ int64_t end(int k) const { return k + 1 < count ? rows[k + 1].first_tile : tiles; }
};

// What comes back to the result: a number for each term, or with a step of 0 one for all.
template <class C>
struct Grad {
  const C* data;
  int step;

  __device__ C of(int k) const { return data[k * step]; }
};

// loss = sum_k weight_k sum_i f(d_ki)
template <class F, class T, class Operands>
__global__ void __launch_bounds__(kThreads)
    flat_forward_kernel(const __grid_constant__ Rows<F, T, Operands> table, double* partial,
                        Compute<T>* loss) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.rows[table.index(tile)];
    const auto share = row.share(tile);
    const auto d = row.of.d(share);
    Compute<T> part = 0;
    share.for_each_inside([&](int i, int j) { part += row.functor.f(d(i, j)); });
    sum += row.weight * part;
  }
  finish_sum(sum, partial, loss);
}

// What statistics sum over a row, or over a tile of it: f, x, and how many x are above and below
// the threshold.
struct Sums {
  double of[4];

  __device__ void operator+=(const Sums& more) {
    for (int j = 0; j < 4; ++j) of[j] += more.of[j];
  }
};

__device__ inline Sums warp_sums(const Sums& sums) {
  return {warp_sum(sums.of[0]), warp_sum(sums.of[1]), warp_sum(sums.of[2]), warp_sum(sums.of[3])};
}

template <class C>
struct StatsOut {
  C threshold;
  Sums* partial;          // (tiles)
  C* stats;               // (rows, 4): weight sum f, mean logit, shares above and below
  double* partial_total;  // the sum of the first of these numbers, for another launch to add up
  C* total;               // that sum, or null
};

// The partial sums of each tile, and where there is one block, the results; in a second launch
// these alone.
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    flat_stats_kernel(const __grid_constant__ Rows<F, T, Single<T>> table, StatsOut<Compute<T>> out,
                      bool second) {
  GANFAST_SHARED(Sums, of_warps, kThreads / kWarp);
  const int lane = threadIdx.x % kWarp, own_warp = threadIdx.x / kWarp;
  for (int64_t tile = blockIdx.x; tile < table.tiles && !second; tile += gridDim.x) {
    const auto& row = table.rows[table.index(tile)];
    const auto share = row.share(tile);
    const auto x = row.of.d(share);
    Compute<T> f = 0, sum = 0;
    int above = 0, below = 0;
    share.for_each_inside([&](int i, int j) {
      f += row.functor.f(x(i, j));
      sum += x(i, j);
      above += x(i, j) > out.threshold;
      below += x(i, j) < out.threshold;
    });
    Sums sums = warp_sums({double(f), double(sum), double(above), double(below)});
    __syncthreads();  // thread 0 has read the sums of the tile before
    if (lane == 0) of_warps[own_warp] = sums;
    __syncthreads();
    if (threadIdx.x > 0) continue;
    for (int warp = 1; warp < kThreads / kWarp; ++warp) sums += of_warps[warp];
    out.partial[tile] = sums;
  }
  if (gridDim.x > 1) return;
  __syncthreads();
  double total = 0;
  for (int k = own_warp; k < table.count; k += kThreads / kWarp) {  // warps take turns
    const auto& row = table.rows[k];
    Sums sums{};
    for (int64_t i = row.first_tile + lane; i < table.end(k); i += kWarp) sums += out.partial[i];
    sums = warp_sums(sums);
    if (lane > 0) continue;
    const double value = row.weight * sums.of[0];
    total += value;
    Compute<T>* const to = out.stats + 4 * k;
    to[0] = static_cast<Compute<T>>(value);
    for (int j = 1; j < 4; ++j) to[j] = static_cast<Compute<T>>(sums.of[j] / row.n);
  }
  finish_sum(total, out.partial_total, out.total);
}

// dx_ki = grad weight_k f'(d_ki),  dy_ki = -dx_ki; or with `second`, u_ki f''(d_ki) in place of
// f'(d_ki), and dgrad = sum_k weight_k sum_i u_ki f'(d_ki). Where y is a number, dy_partial = the
// blocks' sums of dx / grad unless it is null.
template <class F, class T, class Operands, bool second>
__global__ void __launch_bounds__(kThreads, second ? kBlocksOfFourShares : 0)
    flat_gradients_kernel(const __grid_constant__ Rows<F, T, Operands> table, Grad<Compute<T>> grad,
                          double* dy_partial, double* partial, Compute<T>* dgrad) {
  constexpr bool of_number = Operands::of_number;
  double sum = 0, dy_sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const int k = table.index(tile);
    const auto& row = table.rows[k];
    const auto scale = static_cast<Compute<T>>(grad.of(k) * row.weight);
    const auto share = row.share(tile);
    const auto d = row.of.d(share);
    auto dx = share.zeros();
    Compute<T> part = 0, dy_part = 0;
    if constexpr (second) {
      const auto u = row.of.u(share);
      share.for_each_inside([&](int i, int j) {
        const Compute<T> di = d(i, j), ui = u(i, j), curve = row.functor.d2f(di);
        store(dx.at(i, j), scale * ui * curve);
        part += ui * row.functor.df(di);
        if (of_number) dy_part += ui * curve;
      });
    } else {
      share.for_each([&](int i, int j) {
        const Compute<T> slope = row.functor.df(d(i, j));
        store(dx.at(i, j), scale * slope);
        if (of_number && share.inside(i, j)) dy_part += slope;
      });
    }
    row.of.store_gradients(share, dx);
    sum += row.weight * part;
    if (of_number) dy_sum += row.weight * dy_part;
  }
  if (second) finish_sum(sum, partial, dgrad);
  if (!of_number || dy_partial == nullptr) return;
  if (second) __syncthreads();
  finish_sum<double>(dy_sum, dy_partial, nullptr);
}

// Where the sum over each row's tiles goes, or null.
template <class Result>
struct Totals {
  Result* to[kMaxRows];
  int64_t first[kMaxRows + 1];  // first tile of each row, and the end of the last
};

// to_k = the sum of the row's partials, or with a grad -grad_k times that. A block has a row.
template <class Result>
__global__ void __launch_bounds__(kThreads)
    flat_totals_kernel(const __grid_constant__ Totals<Result> rows, const double* partial,
                       Grad<Result> grad) {
  const int k = blockIdx.x;
  if (rows.to[k] == nullptr) return;
  double sum = 0;
  for (int64_t tile = rows.first[k] + threadIdx.x; tile < rows.first[k + 1]; tile += kThreads)
    sum += partial[tile];
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    *rows.to[k] = static_cast<Result>(grad.data == nullptr ? sum : -grad.of(k) * sum);
}

// A list with its types, to be launched.
template <class F, class T, class Operands>
struct Call {
  using C = Compute<T>;
  using Table = Rows<F, T, Operands>;

  const FlatList& list;
  const Workspace& workspace;
  const cudaStream_t stream = static_cast<cudaStream_t>(workspace.stream);
  const int64_t tables = (list.terms.size() + kMaxRows - 1) / kMaxRows;

  static C* dy_of_number(const Term& term) {
    return Operands::of_number ? static_cast<C*>(term.dy) : nullptr;
  }

  // Calls body(table, blocks) for each stretch of terms that one launch can take. Each tile has a
  // block to itself where sums of single rows are wanted.
  template <class Body>
  void for_each_table(Body body) const {
    for (size_t first = 0; first < list.terms.size(); first += kMaxRows) {
      Table table;
      table.first = first;
      bool each_tile = list.per_term;
      for (size_t k = first; k < std::min(first + kMaxRows, list.terms.size()); ++k) {
        const Term& term = list.terms[k];
        const auto of = Operands::of(term);
        table.rows[table.count++] = {
            of, term.n, table.tiles, term.weight, functor_of<F>(term), of.whole()};
        table.tiles += (term.n + Operands::Tile::kTile - 1) / Operands::Tile::kTile;
        each_tile |= dy_of_number(term) != nullptr;
      }
      int64_t blocks = table.tiles <= kMaxTilesOfOneBlock ? 1 : kMaxBlocks;
      if (each_tile) blocks = table.tiles;
      body(table, static_cast<int>(std::min(table.tiles, blocks)));
    }
  }

  // Adds up the partial sums of the tiles of each row whose to(term) is not null.
  template <class To>
  void add_tiles(const Table& table, const double* partial, Grad<C> grad, To to) const {
    Totals<C> totals;
    for (int k = 0; k < table.count; ++k) {
      totals.to[k] = to(list.terms[table.first + k]);
      totals.first[k] = table.rows[k].first_tile;
    }
    totals.first[table.count] = table.tiles;
    launch("flat_totals", flat_totals_kernel<C>, table.count, kThreads, stream, totals, partial,
           grad);
  }

  // Runs a summing kernel, run(table, blocks, partial, result or null), over all tables, and adds
  // up the partial sums to the result.
  template <class Run>
  void sum(void* result_, Run run) const {
    const auto result = static_cast<C*>(result_);
    double* const of_tables = workspace.doubles(tables > 1 && !list.per_term ? tables : 0);
    for_each_table([&](const Table& table, int blocks) {
      if (blocks == 1 && tables == 1 && !list.per_term) return run(table, blocks, nullptr, result);
      double* const partial = workspace.doubles(blocks);
      run(table, blocks, partial, nullptr);
      if (list.per_term) {
        add_tiles(table, partial, {},
                  [&](const Term& term) { return result + (&term - list.terms.data()); });
      } else if (tables == 1) {
        add_up(partial, blocks, result);
      } else {
        add_up(partial, blocks, of_tables + table.first / kMaxRows);
      }
    });
    if (of_tables != nullptr) add_up(of_tables, tables, result);
  }

  template <class Result>
  void add_up(const double* partial, int64_t count, Result* result) const {
    launch("sum_partials", sum_partials<Result>, 1, kThreads, stream, partial, count, result);
  }

  void forward(void* loss, void* stats, double threshold) const {
    if constexpr (std::is_same_v<Operands, Single<T>>) {
      if (stats != nullptr)
        return forward_stats(static_cast<C*>(loss), static_cast<C*>(stats),
                             static_cast<C>(threshold));
    }
    sum(loss, [&](const Table& table, int blocks, double* partial, C* result) {
      launch("flat_forward", flat_forward_kernel<F, T, Operands>, blocks, kThreads, stream, table,
             partial, result);
    });
  }

  // Runs the two stages of statistics in a number of blocks.
  void sum_stats(const Table& table, int blocks, const StatsOut<C>& out) const {
    launch("flat_stats", flat_stats_kernel<F, T>, blocks, kThreads, stream, table, out, false);
    if (blocks > 1)
      launch("flat_stats", flat_stats_kernel<F, T>, 1, kThreads, stream, table, out, true);
  }

  void forward_stats(C* loss, C* stats, C threshold) const {
    double* const of_tables = workspace.doubles(tables);
    for_each_table([&](const Table& table, int blocks) {
      constexpr int doubles = sizeof(Sums) / sizeof(double);
      const auto partial = reinterpret_cast<Sums*>(workspace.doubles(doubles * table.tiles));
      sum_stats(table, blocks,
                {threshold, partial, stats + 4 * table.first, of_tables + table.first / kMaxRows,
                 tables == 1 ? loss : nullptr});
    });
    if (tables > 1) add_up(of_tables, tables, loss);
  }

  template <bool second>
  void gradients(const Table& table, int blocks, const void* grad_, double* partial,
                 C* dgrad) const {
    const auto data = static_cast<const C*>(grad_);
    const Grad<C> grad{list.per_term ? data + table.first : data, list.per_term};
    const auto terms = list.terms.subspan(table.first, table.count);
    const bool of_numbers = std::ranges::any_of(terms, dy_of_number);
    double* const dy_partial = workspace.doubles(of_numbers ? table.tiles : 0);
    launch(second ? "flat_double_backward" : "flat_backward",
           flat_gradients_kernel<F, T, Operands, second>, blocks, kThreads, stream, table, grad,
           dy_partial, partial, dgrad);
    if (of_numbers) add_tiles(table, dy_partial, grad, dy_of_number);
  }

  void backward(const void* grad) const {
    for_each_table([&](const Table& table, int blocks) {
      gradients<false>(table, blocks, grad, nullptr, nullptr);
    });
  }

  void double_backward(const void* grad, void* dgrad) const {
    sum(dgrad, [&](const Table& table, int blocks, double* partial, C* result) {
      gradients<true>(table, blocks, grad, partial, result);
    });
  }
};

}  // namespace

void flat_forward(const FlatList& list, void* loss, void* stats, double threshold,
                  const Workspace& workspace) {
  with_call<Call, true>(list, workspace,
                        [&](const auto& call) { call.forward(loss, stats, threshold); });
}

void flat_backward(const FlatList& list, const void* grad, const Workspace& workspace) {
  with_call<Call, true>(list, workspace, [&](const auto& call) { call.backward(grad); });
}

void flat_double_backward(const FlatList& list, const void* grad, void* dgrad,
                          const Workspace& workspace) {
  with_call<Call, true>(list, workspace,
                        [&](const auto& call) { call.double_backward(grad, dgrad); });
}

}  // namespace ganfast::cuda

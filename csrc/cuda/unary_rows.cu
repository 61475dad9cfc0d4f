// rows_b = sum_k w_k s_kb mean_j f(x_kbj) and its two derivatives on CUDA: one launch for the whole
// list of tensors.
//
// Small samples: a few lanes of a warp share one. Large samples: a block has one, or where there
// are few, `splits` blocks share it; each leaves one double, which a second launch adds up.
// Normalized weights: a launch before leaves partial sums of them, which each block adds up again.
#include "../ops/unary_rows.h"

#include "table.cuh"

namespace ganfast::cuda {
namespace {

// Elements of a sample, in all tensors, up to which lanes of a warp share it.
constexpr int64_t kSmallSample = 1024;
constexpr int kMaxWeightParts = 64;
// Of a launch with statistics: each warp of a block has sums of each tensor in shared memory.
constexpr int kMaxStatsRows = 64;
constexpr int kMaxStatsBlocks = 4 * kSharingBlocks;

template <class F, class T>
struct SampleRow {
  const T* x;  // (samples, size)
  const T* v;  // (samples, size)
  T* dx;       // (samples, size)
  const Compute<T>* sample_weight;
  const Compute<T>* sample_a;
  int64_t size;
  double weight;
  F functor;
  bool whole;  // 16-byte accesses are allowed from the start of each sample
};

template <class F, class T>
struct SampleRows {
  SampleRow<F, T> rows[kMaxRows];
  int count;
  int64_t samples;
  int lanes;              // threads of a warp that share a sample; 0 where blocks do
  int splits;             // blocks that share a sample
  const double* weights;  // (count, weight_parts) sums of the sample weights to divide by, or null
  int weight_parts;
};

template <class C>
struct OuterGrad {
  const C* data;
  int64_t step;
};

// weights[row, part] = sum of the part of the row's sample weights. One block for each.
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_weights_kernel(const __grid_constant__ SampleRows<F, T> list, double* weights) {
  const auto& row = list.rows[blockIdx.x / list.weight_parts];
  const int part = blockIdx.x % list.weight_parts;
  double sum = 0;
  if (row.sample_weight != nullptr) {
    for (int64_t b = int64_t(part) * kThreads + threadIdx.x; b < list.samples;
         b += int64_t(list.weight_parts) * kThreads)
      sum += row.sample_weight[b];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) weights[blockIdx.x] = sum;
}

// Each row's weight, divided by the mean of its sample weights where that is asked for, into shared
// memory.
template <class F, class T>
__device__ void load_weights(const SampleRows<F, T>& list, double* to) {
  for (int k = threadIdx.x; k < list.count; k += kThreads) {
    double weight = list.rows[k].weight;
    if (list.weights != nullptr && list.rows[k].sample_weight != nullptr) {
      double total = 0;
      for (int part = 0; part < list.weight_parts; ++part)
        total += list.weights[k * list.weight_parts + part];
      weight *= list.samples / (total == 0 ? 1 : total);
    }
    to[k] = weight;
  }
  __syncthreads();
}

// For each sample that this thread has a share of: calls body(k, sample, from, end) for the packs
// of each row k that are its own, elements from `from` to `end` as offsets into the row's tensors,
// and after_row(k); then finish(sample). All lanes of a warp call these two together, those without
// a sample with one past the last.
template <class F, class T, class Body, class AfterRow, class Finish>
__device__ void for_each_sample(const SampleRows<F, T>& list, Body body, AfterRow after_row,
                                Finish finish) {
  // One loop for lanes and for blocks, so that the body is there once.
  const bool of_lanes = list.lanes > 0;
  const int per_block = of_lanes ? kThreads / list.lanes : 1;
  const int split = blockIdx.x % list.splits;
  const int64_t share = of_lanes ? threadIdx.x % list.lanes
                                 : (int64_t(split) * kThreads + threadIdx.x) * Pack<T>::size;
  const int64_t step = of_lanes ? list.lanes : int64_t(list.splits) * kThreads * Pack<T>::size;
  const int64_t next = of_lanes ? int64_t(gridDim.x) * per_block : gridDim.x / list.splits;
  int64_t first = of_lanes ? int64_t(blockIdx.x) * per_block : blockIdx.x / list.splits;
  for (; first < list.samples; first += next) {
    const int64_t sample = of_lanes ? first + threadIdx.x / list.lanes : first;
    for (int k = 0; k < list.count; ++k) {
      const int64_t size = sample < list.samples ? list.rows[k].size : 0;
      const int64_t begin = sample * size, end = begin + size;
      for (int64_t from = begin + share; from < end; from += step)
        body(k, sample, from, of_lanes ? from + 1 : end);
      after_row(k);
    }
    finish(sample);
  }
}

// Adds up what the threads of a sample have and writes it: to `rows`, or for one of several blocks
// to its partial. What a launch before has written of other tensors is added to.
template <class F, class T>
__device__ void finish_row(const SampleRows<F, T>& list, int64_t sample, double sum,
                           double* partial, bool add, Compute<T>* rows) {
  if (list.lanes == 0) {
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    if (list.splits > 1) {
      partial[blockIdx.x] = sum;
      return;
    }
  } else {
    for (int delta = list.lanes / 2; delta > 0; delta /= 2)
      sum += __shfl_down_sync(0xffffffffu, sum, delta);
    if (sample >= list.samples || threadIdx.x % list.lanes > 0) return;
  }
  rows[sample] = static_cast<Compute<T>>(add ? rows[sample] + sum : sum);
}

// rows_b (+)= sum of the sample's partials
template <class Result>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_splits_kernel(const double* partial, int64_t samples, int splits, bool add,
                             Result* rows) {
  const int64_t b = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (b >= samples) return;
  double sum = 0;
  for (int split = 0; split < splits; ++split) sum += partial[b * splits + split];
  rows[b] = static_cast<Result>(add ? rows[b] + sum : sum);
}

// weight_k s_kb and the functor of a row with the sample's own a
template <class F, class T>
__device__ double weight_of(const SampleRow<F, T>& row, double weight, int64_t sample) {
  return row.sample_weight == nullptr ? weight : weight * row.sample_weight[sample];
}

template <class F, class T>
__device__ F functor_of(const SampleRow<F, T>& row, int64_t sample) {
  return row.sample_a == nullptr ? row.functor : F{row.sample_a[sample], row.functor.b};
}

// The rows of `stats`, from the partial sums of `blocks` blocks. For one block, whose warps take
// turns with the rows.
template <class F, class T>
__device__ void finish_rows_stats(const SampleRows<F, T>& list, int blocks, const Sums* of_blocks,
                                  Compute<T>* stats) {
  for (int k = threadIdx.x / kWarp; k < list.count; k += kThreads / kWarp) {
    Sums sums{};
    for (int i = threadIdx.x % kWarp; i < blocks; i += kWarp)
      add(sums, of_blocks[i * list.count + k]);
    sums = warp_sums(sums);
    if (threadIdx.x % kWarp > 0) continue;
    const auto n = static_cast<double>(list.samples * list.rows[k].size);
    write_stats(sums.f, sums, n, stats + 4 * k);
  }
}

template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_finish_stats_kernel(const __grid_constant__ SampleRows<F, T> list, int blocks,
                                   const Sums* of_blocks, Compute<T>* stats) {
  finish_rows_stats(list, blocks, of_blocks, stats);
}

// What statistics are to go to; `of_blocks` has (blocks, count) partial sums.
template <class T>
struct StatsOut {
  Compute<T> threshold;
  Sums* of_blocks;
  Compute<T>* stats;
};

// rows_b (+)= sum_k weight_k s_kb sum_j f(x_kbj), and where asked for, the partial sums of the
// statistics, where there is one block their rows too.
template <class F, class T, bool with_stats>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_forward_kernel(const __grid_constant__ SampleRows<F, T> list, double* partial,
                              bool add_rows, Compute<T>* rows, StatsOut<T> out) {
  GANFAST_SHARED(double, weights, kMaxRows);
  GANFAST_SHARED(Sums, of_warps, with_stats ? kThreads / kWarp * kMaxStatsRows : 1);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if constexpr (with_stats) {
    for (int i = threadIdx.x; i < kThreads / kWarp * list.count; i += kThreads) of_warps[i] = {};
  }
  load_weights(list, weights);
  double sum = 0;
  Sums sums{};
  for_each_sample(
      list,
      [&](int k, int64_t sample, int64_t from, int64_t end) {
        const auto& row = list.rows[k];
        const F functor = functor_of(row, sample);
        const Pack<T> x = load_pack(row.x + from, row.x + end, row.whole);
        Compute<T> part = 0, logits = 0;
        int above = 0, below = 0;
        GANFAST_UNROLL
        for (int j = 0; j < Pack<T>::size; ++j) {
          if (from + j >= end) continue;
          const Compute<T> xj = load(x.values[j]);
          part += functor.f(xj);
          if constexpr (with_stats) {
            logits += xj;
            above += xj > out.threshold;
            below += xj < out.threshold;
          }
        }
        const double value = weight_of(row, weights[k], sample) * part;
        sum += value;
        if constexpr (with_stats) add(sums, {value, double(logits), double(above), double(below)});
      },
      [&](int k) {
        if constexpr (with_stats) {
          sums = warp_sums(sums);
          if (lane == 0) add(of_warps[warp * list.count + k], sums);
          sums = {};
        }
      },
      [&](int64_t sample) {
        finish_row(list, sample, sum, partial, add_rows, rows);
        if constexpr (with_stats) __syncthreads();  // before a sum over the block for the next
        sum = 0;
      });
  if constexpr (with_stats) {  // all threads have come out of a barrier with the last sample
    for (int k = threadIdx.x; k < list.count; k += kThreads) {
      Sums of_block = of_warps[k];
      for (int w = 1; w < kThreads / kWarp; ++w) add(of_block, of_warps[w * list.count + k]);
      out.of_blocks[blockIdx.x * list.count + k] = of_block;
    }
    if (gridDim.x > 1) return;
    __syncthreads();
    finish_rows_stats(list, 1, out.of_blocks, out.stats);
  }
}

// dx_kbj = grad_b weight_k s_kb f'(x_kbj)
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_backward_kernel(const __grid_constant__ SampleRows<F, T> list,
                               OuterGrad<Compute<T>> grad) {
  GANFAST_SHARED(double, weights, kMaxRows);
  load_weights(list, weights);
  for_each_sample(
      list,
      [&](int k, int64_t sample, int64_t from, int64_t end) {
        const auto& row = list.rows[k];
        const F functor = functor_of(row, sample);
        const auto scale = static_cast<Compute<T>>(grad.data[sample * grad.step] *
                                                   weight_of(row, weights[k], sample));
        const Pack<T> x = load_pack(row.x + from, row.x + end, row.whole);
        Pack<T> dx;
        GANFAST_UNROLL
        for (int j = 0; j < Pack<T>::size; ++j)
          store(dx.values[j], scale * functor.df(load(x.values[j])));
        store_pack(dx, row.dx + from, row.dx + end, row.whole);
      },
      [](int) {}, [](int64_t) {});
}

// dgrad_b = sum_k weight_k s_kb sum_j v_kbj f'(x_kbj), dx_kbj = grad_b weight_k s_kb v_kbj f''
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_rows_double_backward_kernel(const __grid_constant__ SampleRows<F, T> list,
                                      OuterGrad<Compute<T>> grad, double* partial, bool add,
                                      Compute<T>* dgrad) {
  GANFAST_SHARED(double, weights, kMaxRows);
  load_weights(list, weights);
  double sum = 0;
  for_each_sample(
      list,
      [&](int k, int64_t sample, int64_t from, int64_t end) {
        const auto& row = list.rows[k];
        const F functor = functor_of(row, sample);
        const double weight = weight_of(row, weights[k], sample);
        const auto scale = static_cast<Compute<T>>(grad.data[sample * grad.step] * weight);
        const Pack<T> x = load_pack(row.x + from, row.x + end, row.whole);
        const Pack<T> v = load_pack(row.v + from, row.v + end, row.whole);
        Pack<T> dx;
        Compute<T> part = 0;
        GANFAST_UNROLL
        for (int j = 0; j < Pack<T>::size; ++j) {
          const Compute<T> xj = load(x.values[j]), vj = load(v.values[j]);
          store(dx.values[j], scale * vj * functor.d2f(xj));
          if (from + j < end) part += vj * functor.df(xj);
        }
        store_pack(dx, row.dx + from, row.dx + end, row.whole);
        sum += weight * part;
      },
      [](int) {},
      [&](int64_t sample) {
        finish_row(list, sample, sum, partial, add, dgrad);
        sum = 0;
      });
}

int weight_parts_of(int64_t samples) {
  return std::clamp<int64_t>(samples / (kThreads * kElements), 1, kMaxWeightParts);
}

// Blocks that share a large sample: as many as have work, and with all samples no more than fill
// the largest GPUs.
int splits_of(const RowsList& list) {
  int64_t elements = 0;
  for (const RowsTerm& term : list.terms) elements += term.size;
  const int64_t tiles = (elements + kTile - 1) / kTile;
  return std::max<int64_t>(1, std::min(tiles, kSharingBlocks / list.samples));
}

template <class F, class T>
SampleRows<F, T> make_rows(const RowsList& list) {
  SampleRows<F, T> rows{};
  int64_t elements = 0, largest = 1;
  for (const RowsTerm& term : list.terms) {
    const T* x = static_cast<const T*>(term.x);
    const T* v = static_cast<const T*>(term.v);
    T* dx = static_cast<T*>(term.dx);
    rows.rows[rows.count++] = {
        x,
        v,
        dx,
        static_cast<const Compute<T>*>(term.sample_weight),
        static_cast<const Compute<T>*>(term.sample_a),
        term.size,
        term.weight,
        F{static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)},
        aligned(x) && aligned(v) && aligned(dx) && term.size % Pack<T>::size == 0};
    elements += term.size;
    largest = std::max(largest, term.size);
  }
  rows.samples = list.samples;
  rows.splits = 1;
  rows.weight_parts = weight_parts_of(list.samples);
  if (elements > kSmallSample) {
    rows.splits = splits_of(list);
    return rows;
  }
  for (rows.lanes = 1; rows.lanes < kWarp && rows.lanes < largest;) rows.lanes *= 2;
  return rows;
}

template <class F, class T>
int blocks_of(const SampleRows<F, T>& rows) {
  if (rows.lanes == 0) return static_cast<int>(rows.samples * rows.splits);
  const int64_t of_block = kThreads / rows.lanes;
  return std::min<int64_t>((rows.samples + of_block - 1) / of_block, 4 * kSharingBlocks);
}

// Calls body(rows, blocks, partial, add) for each stretch of terms that one launch can take.
template <class F, class T, class Body>
void for_each_stretch(const RowsList& list, double* scratch, cudaStream_t stream, Body body,
                      size_t max_rows = kMaxRows) {
  for (size_t begin = 0; begin < list.terms.size(); begin += max_rows) {
    const size_t count = std::min(max_rows, list.terms.size() - begin);
    const RowsList stretch{list.terms.subspan(begin, count), list.samples, list.normalize};
    SampleRows<F, T> rows = make_rows<F, T>(stretch);
    double* partial = scratch + kMaxRows * kMaxWeightParts;
    bool weighted = false;
    for (const RowsTerm& term : stretch.terms) weighted |= term.sample_weight != nullptr;
    if (list.normalize && weighted) {
      launch("unary_rows_weights", unary_rows_weights_kernel<F, T>, rows.count * rows.weight_parts,
             kThreads, stream, rows, scratch);
      rows.weights = scratch;
    }
    body(rows, blocks_of(rows), partial, begin > 0);
  }
}

// The second stage of a launch in which several blocks share a sample.
template <class F, class T>
void add_splits(const SampleRows<F, T>& rows, const double* partial, bool add, Compute<T>* result,
                cudaStream_t stream) {
  if (rows.splits == 1) return;
  launch("unary_rows_splits", unary_rows_splits_kernel<Compute<T>>,
         static_cast<int>((rows.samples + kThreads - 1) / kThreads), kThreads, stream, partial,
         rows.samples, rows.splits, add, result);
}

template <class T>
OuterGrad<Compute<T>> outer(RowsGrad grad) {
  return {static_cast<const Compute<T>*>(grad.data), grad.step};
}

}  // namespace

int64_t unary_rows_scratch(const RowsList& list) {
  return kMaxRows * kMaxWeightParts + (list.samples < kSharingBlocks ? kSharingBlocks : 0);
}

void unary_rows_forward(UnaryFunctor functor, DType dtype, const RowsList& list, void* rows_,
                        double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto result = static_cast<Compute<T>*>(rows_);
    for_each_stretch<F, T>(
        list, scratch, stream,
        [&](const SampleRows<F, T>& rows, int blocks, double* partial, bool add) {
          launch("unary_rows_forward", unary_rows_forward_kernel<F, T, false>, blocks, kThreads,
                 stream, rows, partial, add, result, StatsOut<T>{});
          add_splits(rows, partial, add, result, stream);
        });
  });
}

int64_t unary_rows_stats_scratch(const RowsList& list) {
  const int64_t rows = std::min<size_t>(kMaxStatsRows, list.terms.size());
  // At most one for each sample, but where several share one.
  const int64_t blocks = std::clamp<int64_t>(list.samples, kSharingBlocks, kMaxStatsBlocks);
  return unary_rows_scratch(list) + sizeof(Sums) / sizeof(double) * blocks * rows;
}

void unary_rows_forward_stats(UnaryFunctor functor, DType dtype, const RowsList& list,
                              double threshold, void* rows_, void* stats_, double* scratch,
                              void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto result = static_cast<Compute<T>*>(rows_);
    const auto of_blocks = reinterpret_cast<Sums*>(scratch + unary_rows_scratch(list));
    StatsOut<T> out{static_cast<Compute<T>>(threshold), of_blocks,
                    static_cast<Compute<T>*>(stats_)};
    for_each_stretch<F, T>(
        list, scratch, stream,
        [&](const SampleRows<F, T>& rows, int all_blocks, double* partial, bool add) {
          const int blocks = std::min(all_blocks, kMaxStatsBlocks);
          launch("unary_rows_forward_stats", unary_rows_forward_kernel<F, T, true>, blocks,
                 kThreads, stream, rows, partial, add, result, out);
          add_splits(rows, partial, add, result, stream);
          if (blocks > 1) {
            launch("unary_rows_finish_stats", unary_rows_finish_stats_kernel<F, T>, 1, kThreads,
                   stream, rows, blocks, of_blocks, out.stats);
          }
          out.stats += 4 * rows.count;
        },
        kMaxStatsRows);
  });
}

void unary_rows_backward(UnaryFunctor functor, DType dtype, const RowsList& list, RowsGrad grad,
                         double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    for_each_stretch<F, T>(list, scratch, stream,
                           [&](const SampleRows<F, T>& rows, int blocks, double*, bool) {
                             launch("unary_rows_backward", unary_rows_backward_kernel<F, T>, blocks,
                                    kThreads, stream, rows, outer<T>(grad));
                           });
  });
}

void unary_rows_double_backward(UnaryFunctor functor, DType dtype, const RowsList& list,
                                RowsGrad grad, void* dgrad_, double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto dgrad = static_cast<Compute<T>*>(dgrad_);
    for_each_stretch<F, T>(
        list, scratch, stream,
        [&](const SampleRows<F, T>& rows, int blocks, double* partial, bool add) {
          launch("unary_rows_double_backward", unary_rows_double_backward_kernel<F, T>, blocks,
                 kThreads, stream, rows, outer<T>(grad), partial, add, dgrad);
          add_splits(rows, partial, add, dgrad, stream);
        });
  });
}

}  // namespace ganfast::cuda

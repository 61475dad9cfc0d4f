// s_p = sum_k w_k s_kp mean_j f(x_kpj - y_kpj), the mean of phi(s_p), and derivatives on CUDA: one
// launch for the whole list of terms.
//
// What several launches or blocks leave of a sum, and what phi is taken of, goes through doubles
// that another launch adds up. Where weights are normalized, a launch before leaves partial sums of
// them, which each block adds up again.
#include "../ops/rows.h"

#include <algorithm>

#include "operands.cuh"
#include "positions.cuh"

namespace ganfast::cuda {
namespace {

constexpr int64_t kMaxWeightParts = 64;

template <class F, class T, class Operands>
struct Row {
  Operands of;                      // tensors of (outer, size, inner)
  const Compute<T>* sample_weight;  // (positions), or null for ones
  const Compute<T>* sample_a;       // (positions), or null for the functor's own
  int64_t size;
  double weight;
  F functor;
  bool whole;  // 16-byte accesses are allowed from the start of each sample

  __device__ F functor_of(int64_t p) const {
    return sample_a == nullptr ? functor : F{sample_a[p], functor.b};
  }
  __device__ double weight_of(double row_weight, int64_t p) const {
    return sample_weight == nullptr ? row_weight : row_weight * sample_weight[p];
  }
};

template <class F, class T, class Operands>
struct Rows {
  Row<F, T, Operands> rows[kMaxRows];
  int count = 0;
  Sharing sharing;
  const double* weights = nullptr;  // (count, weight_parts) sums of the sample weights to divide by
  int weight_parts;
};

// sums[row, part] = sum of the part of the row's sample weights. One block for each.
template <class F, class T, class Operands>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    rows_weights_kernel(const __grid_constant__ Rows<F, T, Operands> list, double* sums) {
  const Compute<T>* row = list.rows[blockIdx.x / list.weight_parts].sample_weight;
  const int64_t step = int64_t(list.weight_parts) * kThreads;
  int64_t p = int64_t(blockIdx.x % list.weight_parts) * kThreads + threadIdx.x;
  double sum = 0;
  for (; row != nullptr && p < list.sharing.positions; p += step) sum += row[p];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Each row's weight, divided by the mean of its sample weights where that is asked for, into shared
// memory.
template <class F, class T, class Operands>
__device__ void load_weights(const Rows<F, T, Operands>& list, double* to) {
  for (int k = threadIdx.x; k < list.count; k += kThreads) {
    double weight = list.rows[k].weight;
    if (list.weights != nullptr && list.rows[k].sample_weight != nullptr) {
      double total = 0;
      for (int part = 0; part < list.weight_parts; ++part)
        total += list.weights[k * list.weight_parts + part];
      weight *= list.sharing.positions / (total == 0 ? 1 : total);
    }
    to[k] = weight;
  }
  __syncthreads();
}

// Where the sums go: `partial` (positions, splits) of what several launches or blocks leave, or
// `result` (positions).
template <class C>
struct SumsOut {
  double* partial;
  bool add;  // to the partial sums that are there
  C* result;
};

// Adds up what the threads of a position have. All threads must call it.
template <class C>
__device__ void finish_position(const Sharing& sharing, int64_t p, double sum,
                                const SumsOut<C>& to) {
  if (sharing.lanes == 0) {
    sum = block_sum(sum);
    __syncthreads();  // before a sum over the block for the next
    if (threadIdx.x > 0) return;
  } else {
    sum = warp_sum(sum, sharing.lanes);
    if (p >= sharing.positions || threadIdx.x % sharing.lanes > 0) return;
  }
  if (to.partial == nullptr) {
    to.result[p] = static_cast<C>(sum);
  } else {
    double& partial = to.partial[p * sharing.splits + blockIdx.x % sharing.splits];
    partial = to.add ? partial + sum : sum;
  }
}

// s_p = sum_k weight_k s_kp sum_j f(d_kpj)
template <class F, class T, class Operands>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    rows_forward_kernel(const __grid_constant__ Rows<F, T, Operands> list, SumsOut<Compute<T>> to) {
  GANFAST_SHARED(double, weights, kMaxRows);
  load_weights(list, weights);
  double sum = 0;
  for_each_position<T>(
      list,
      [&](const auto& row, int k, int64_t p, auto for_each_share) {
        const F functor = row.functor_of(p);
        double of_row = 0;
        for_each_share([&](const auto& share) {
          const auto d = row.of.d(share);
          Compute<T> part = 0;
          share.for_each([&](auto... j) {
            if (share.inside(j...)) part += functor.f(d(j...));
          });
          of_row += part;
        });
        sum += row.weight_of(weights[k], p) * of_row;
      },
      [&](int64_t p) {
        finish_position(list.sharing, p, sum, to);
        sum = 0;
      });
}

// RowsGrad with its type
template <class C>
struct Grad {
  const C* data;
  int64_t step;
  const C* derivatives;  // (2, positions), or null for identity

  __device__ C q(int64_t p) const {
    return derivatives == nullptr ? data[p * step] : *data * derivatives[p];
  }
};

// What is written of the gradients, besides dy_kpj = -dx_kpj:
//   first   dx_kpj = q_p weight_k s_kp f'(d_kpj)
//   second  dx_kpj = weight_k s_kp (q_p u_kpj f''(d_kpj) + grad result''_p t_p f'(d_kpj))
//   sums    t_p = sum_k weight_k s_kp sum_j u_kpj f'(d_kpj), and for identity, which is without the
//           term of t_p, dx_kpj
enum class Pass { first, second, sums };

// t is (positions, splits), of which the first are the t_p; sums go to `to`.
template <class F, class T, class Operands, Pass pass>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    rows_gradients_kernel(const __grid_constant__ Rows<F, T, Operands> list, Grad<Compute<T>> grad,
                          const double* t, SumsOut<Compute<T>> to) {
  using C = Compute<T>;
  GANFAST_SHARED(double, weights, kMaxRows);
  load_weights(list, weights);
  double sum = 0;
  for_each_position<T>(
      list,
      [&](const auto& row, int k, int64_t p, auto for_each_share) {
        const F functor = row.functor_of(p);
        const double weight = row.weight_of(weights[k], p);
        const auto scale = static_cast<C>(grad.q(p) * weight);
        C slope_scale = 0;
        if (pass == Pass::second)
          slope_scale = static_cast<C>(*grad.data * grad.derivatives[list.sharing.positions + p] *
                                       t[p * list.sharing.splits] * weight);
        double total = 0;
        for_each_share([&](const auto& share) {
          const auto d = row.of.d(share);
          auto dx = share.zeros();
          if constexpr (pass == Pass::first) {
            share.for_each([&](auto... j) { store(dx.at(j...), scale * functor.df(d(j...))); });
            row.of.store_gradients(share, dx);
          } else {
            const auto u = row.of.u(share);
            C part = 0;
            share.for_each([&](auto... j) {
              const C slope = functor.df(d(j...)), dj = scale * u(j...) * functor.d2f(d(j...));
              store(dx.at(j...), pass == Pass::second ? dj + slope_scale * slope : dj);
              if (share.inside(j...)) part += u(j...) * slope;
            });
            if (pass == Pass::second || grad.derivatives == nullptr)
              row.of.store_gradients(share, dx);
            total += part;
          }
        });
        sum += weight * total;
      },
      [&](int64_t p) {
        if (pass == Pass::sums) finish_position(list.sharing, p, sum, to);
        sum = 0;
      });
}

// What becomes of a position's sum: its term of the result, or the result itself.

template <class C>
struct Itself {
  C* result;  // (positions)

  __device__ double operator()(int64_t p, double s) const {
    result[p] = static_cast<C>(s);
    return 0;
  }
};

template <class P, class C>
struct WeightedPhi {
  P phi;
  double weight;
  C* derivatives;  // (2, positions)
  int64_t positions;

  __device__ double operator()(int64_t p, double s) const {
    const Orders<double> orders = phi(s);
    derivatives[p] = static_cast<C>(weight * orders.df);
    derivatives[positions + p] = static_cast<C>(weight * orders.d2f);
    return weight * orders.f;
  }
};

template <class C>
struct Slope {
  const C* derivatives;  // (positions)

  __device__ double operator()(int64_t p, double t) const { return derivatives[p] * t; }
};

// s_p = the sum of the position's `splits` partials, left in the first of them, by `lanes` threads;
// result = sum_p use(p, s_p), unless both `of_blocks` and `result` are null
template <class Use, class C>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    rows_finish_kernel(double* partial, int64_t positions, int splits, int lanes, Use use,
                       double* of_blocks, C* result) {
  const int per_block = kThreads / lanes;
  double sum = 0;
  for (int64_t first = int64_t(blockIdx.x) * per_block; first < positions;
       first += int64_t(gridDim.x) * per_block) {
    const int64_t p = first + threadIdx.x / lanes;
    double s = 0;
    for (int split = threadIdx.x % lanes; p < positions && split < splits; split += lanes)
      s += partial[p * splits + split];
    s = warp_sum(s, lanes);  // after which all have read
    if (p >= positions || threadIdx.x % lanes > 0) continue;
    partial[p * splits] = s;
    sum += use(p, s);
  }
  if (of_blocks != nullptr || result != nullptr) finish_sum(sum, of_blocks, result);
}

// A list with its types, to be launched.
template <class F, class T, class Operands>
struct Call {
  using C = Compute<T>;
  using Table = Rows<F, T, Operands>;

  const RowsList& list;
  const Workspace& workspace;
  const cudaStream_t stream = static_cast<cudaStream_t>(workspace.stream);
  const Sharing sharing = Sharing::of(list);

  // Calls body(table, first) for each stretch of terms that one launch can take.
  template <class Body>
  void for_each_table(Body body) const {
    const int64_t parts = std::clamp<int64_t>(sharing.positions / kTile, 1, kMaxWeightParts);
    double* const sums = workspace.doubles(list.normalize ? kMaxRows * parts : 0);
    for (size_t first = 0; first < list.terms.size(); first += kMaxRows) {
      Table table;
      table.sharing = sharing;
      table.weight_parts = static_cast<int>(parts);
      for (size_t k = first; k < std::min(first + kMaxRows, list.terms.size()); ++k) {
        const Term& term = list.terms[k];
        const auto of = Operands::of(term);
        const auto weight = static_cast<const C*>(term.sample_weight);
        const auto a = static_cast<const C*>(term.sample_a);
        const bool whole = of.whole() && term.n % Pack<T>::size == 0;
        if (list.normalize && weight != nullptr) table.weights = sums;
        table.rows[table.count++] = {of,   weight, a, term.n, term.weight, functor_of<F>(term),
                                     whole};
      }
      if (table.weights != nullptr)
        launch("rows_weights", rows_weights_kernel<F, T, Operands>,
               table.count * table.weight_parts, kThreads, stream, table, sums);
      body(table, first);
    }
  }

  // Memory for partial sums, or null where one launch writes each sum at once.
  double* partial_sums(bool of_phi) const {
    const bool needed = of_phi || sharing.splits > 1 || list.terms.size() > kMaxRows;
    return workspace.doubles(needed ? sharing.positions * sharing.splits : 0);
  }

  // result = sum_p use(p, s_p) unless it is null
  template <class Use>
  void finish(double* partial, const Use& use, C* result) const {
    int lanes = 1;
    while (lanes < kWarp && lanes < sharing.splits) lanes *= 2;
    const int count = static_cast<int>((sharing.positions * lanes + kTile - 1) / kTile);
    double* const of_blocks = workspace.doubles(result != nullptr && count > 1 ? count : 0);
    launch("rows_finish", rows_finish_kernel<Use, C>, count, kThreads, stream, partial,
           sharing.positions, sharing.splits, lanes, use, of_blocks, count > 1 ? nullptr : result);
    if (of_blocks != nullptr) {
      launch("sum_partials", sum_partials<C>, 1, kThreads, stream, of_blocks, count, result);
    }
  }

  // The s_p themselves, unless they were written at once.
  void finish(double* partial, C* result) const {
    if (partial != nullptr) finish(partial, Itself<C>{result}, nullptr);
  }

  void forward(const RowsPhi& phi, void* result_, void* derivatives) const {
    const auto result = static_cast<C*>(result_);
    const bool identity = phi.phi == Phi::identity;
    double* const partial = partial_sums(!identity);
    for_each_table([&](const Table& table, size_t first) {
      launch("rows_forward", rows_forward_kernel<F, T, Operands>, sharing.blocks(), kThreads,
             stream, table, {partial, first > 0, result});
    });
    if (identity) return finish(partial, result);
    with_phi(phi.phi, [&]<template <class> class P>() {
      const WeightedPhi<P<double>, C> term{{phi.a, phi.b},
                                           phi.weight / sharing.positions,
                                           static_cast<C*>(derivatives),
                                           sharing.positions};
      finish(partial, term, result);
    });
  }

  static Grad<C> typed(const RowsGrad& grad) {
    return {static_cast<const C*>(grad.grad), grad.step, static_cast<const C*>(grad.derivatives)};
  }

  template <Pass pass>
  void gradients(const char* name, const RowsGrad& grad, double* t, double* partial,
                 C* result) const {
    for_each_table([&](const Table& table, size_t first) {
      launch(name, rows_gradients_kernel<F, T, Operands, pass>, sharing.blocks(), kThreads, stream,
             table, typed(grad), t, {partial, first > 0, result});
    });
  }

  void backward(const RowsGrad& grad) const {
    gradients<Pass::first>("rows_backward", grad, nullptr, nullptr, nullptr);
  }

  void double_backward(const RowsGrad& grad, void* dgrad_) const {
    constexpr auto name = "rows_double_backward";
    const auto dgrad = static_cast<C*>(dgrad_);
    const bool identity = grad.derivatives == nullptr;
    double* const partial = partial_sums(!identity);
    gradients<Pass::sums>(name, grad, nullptr, partial, dgrad);
    if (identity) return finish(partial, dgrad);
    if constexpr (std::is_same_v<F, Square<C>>) {  // the only one with a phi
      finish(partial, Slope<C>{typed(grad).derivatives}, dgrad);
      gradients<Pass::second>(name, grad, partial, nullptr, nullptr);
    }
  }
};

}  // namespace

void rows_forward(const RowsList& list, const RowsPhi& phi, void* result, void* derivatives,
                  const Workspace& workspace) {
  with_call<Call, false>(list, workspace,
                         [&](const auto& call) { call.forward(phi, result, derivatives); });
}

void rows_backward(const RowsList& list, const RowsGrad& grad, const Workspace& workspace) {
  with_call<Call, false>(list, workspace, [&](const auto& call) { call.backward(grad); });
}

void rows_double_backward(const RowsList& list, const RowsGrad& grad, void* dgrad,
                          const Workspace& workspace) {
  with_call<Call, false>(list, workspace,
                         [&](const auto& call) { call.double_backward(grad, dgrad); });
}

}  // namespace ganfast::cuda

// pair_reduce: L = sum_k w_k * mean_i h(x_ki, y_ki; a_k, b_k), its gradient and its second gradient
// as ops of their own.
#include "pair_reduce.h"

#include "register.h"
#include "terms.h"

namespace ganfast {
namespace {

using at::IntArrayRef;
using at::Tensor;
using at::TensorList;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

PairFunctor functor_named(std::string_view name) {
#define GANFAST_ROW(row, type) \
  if (name == #row) return PairFunctor::row;
  GANFAST_PAIR_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type) " " #row
  TORCH_CHECK_VALUE(
      false, "pair_reduce: h must be one of" GANFAST_PAIR_FUNCTORS(GANFAST_ROW) ", got ", name);
#undef GANFAST_ROW
}

void check(TensorList x, TensorList y, Floats weight, Floats a, Floats b) {
  check_list("pair_reduce", "x", x);
  TORCH_CHECK_VALUE(x.size() == y.size(),
                    "pair_reduce: x and y must have the same number of tensors, got ", x.size(),
                    " and ", y.size());
  check_parameters("pair_reduce", x.size(), weight, a, b);
  for (size_t k = 0; k < x.size(); ++k) {
    const auto type = x[k].scalar_type(), got = y[k].scalar_type();
    TORCH_CHECK_TYPE(type == got, "pair_reduce: y[", k, "] must have the dtype of x[", k, "], ",
                     toString(type), ", got ", toString(got));
    TORCH_CHECK_VALUE(y[k].device() == x[k].device(), "pair_reduce: y[", k,
                      "] must have the device of x[", k, "], ", x[k].device(), ", got ",
                      y[k].device());
    TORCH_CHECK_VALUE(y[k].sym_sizes() == x[k].sym_sizes(), "pair_reduce: y[", k,
                      "] must have the shape of x[", k, "], ", x[k].sym_sizes(), ", got ",
                      y[k].sym_sizes());
  }
}

void check_derivative(const Tensor& grad, TensorList x, TensorList y, Floats weight, Floats a,
                      Floats b) {
  check(x, y, weight, a, b);
  check_gradient("pair_reduce_backward", grad, x[0]);
  TORCH_CHECK_VALUE(
      grad.dim() == 0 || (grad.dim() == 1 && grad.size(0) == int64_t(x.size())),
      "pair_reduce_backward: grad must be a scalar or have one number for each of the ", x.size(),
      " pairs, got shape ", grad.sizes());
}

// Places among the inputs x..., y...
void check_places(const char* op, const char* name, IntArrayRef places, TensorList x) {
  for (const int64_t place : places) {
    TORCH_CHECK_VALUE(0 <= place && place < int64_t(2 * x.size()), op, ": ", name,
                      " must be places among the ", 2 * x.size(), " tensors, got ", places);
  }
}

// For each place, the x of its pair.
std::vector<Tensor> inputs_at(IntArrayRef places, TensorList x) {
  std::vector<Tensor> inputs;
  for (const size_t place : places) inputs.push_back(x[place % x.size()]);
  return inputs;
}

// What the forward returns: a number for each pair, or one for all.
Tensor empty_results(TensorList x, bool per_pair) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  return per_pair ? at::empty({static_cast<int64_t>(x.size())}, options) : at::empty({}, options);
}

// The pairs as the kernels read them. Holds what had to be copied for as long as the terms are in
// use.
struct Pairs {
  std::vector<Tensor> x, y, v;
  std::vector<PairTerm> terms;

  Pairs(TensorList xs, TensorList ys, Floats weight, Floats a, Floats b, bool per_pair) {
    const size_t count = xs.size();
    x.reserve(count);
    y.reserve(count);
    terms.reserve(count);
    for (size_t k = 0; k < count; ++k) {
      x.push_back(dense(xs[k]));
      y.push_back(dense_like(ys[k], x[k]));
      const int64_t n = x[k].numel(), result = per_pair ? k : 0;
      terms.push_back({x[k].const_data_ptr(), y[k].const_data_ptr(), nullptr, nullptr, nullptr,
                       nullptr, n, result, weight[k] / n, a[k], b[k]});
    }
  }

  // Memory for the gradients that `wanted` names: k is that of x_k, count + k that of y_k.
  std::vector<Tensor> want_gradients(IntArrayRef wanted) {
    std::vector<Tensor> gradients;
    gradients.reserve(wanted.size());
    for (const size_t input : wanted) {
      const size_t k = input % x.size();
      gradients.push_back(at::empty_like(x[k]));
      (input < x.size() ? terms[k].dx : terms[k].dy) = gradients.back().mutable_data_ptr();
    }
    return gradients;
  }

  void drop_unwanted() {
    std::erase_if(terms, [](const PairTerm& term) { return !term.dx && !term.dy; });
  }

  // Cotangents of the gradients that `given` names, as want_gradients does.
  void take_second_order(TensorList cotangents, IntArrayRef given) {
    v.reserve(given.size());
    for (size_t i = 0; i < given.size(); ++i) {
      const size_t input = given[i], k = input % x.size();
      v.push_back(dense_like(cotangents[i], x[k]));
      (input < x.size() ? terms[k].vx : terms[k].vy) = v.back().const_data_ptr();
    }
  }
};

Tensor forward(TensorList x, TensorList y, std::string_view h, Floats weight, Floats a, Floats b,
               bool per_pair) {
  check(x, y, weight, a, b);
  const PairFunctor functor = functor_named(h);
  const DType dtype = dtype_of(x[0]);
  Tensor loss = empty_results(x, per_pair);
  Pairs pairs(x, y, weight, a, b, per_pair);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = at::empty({cuda::pair_reduce_scratch(pairs.terms, per_pair)},
                               x[0].options().dtype(at::kDouble));
    cuda::pair_reduce_forward(functor, dtype, pairs.terms, per_pair, loss.mutable_data_ptr(),
                              scratch.mutable_data_ptr<double>(),
                              c10::cuda::getCurrentCUDAStream());
    return loss;
  }
#endif
  cpu::pair_reduce_forward(functor, dtype, pairs.terms, per_pair, loss.mutable_data_ptr());
  return loss;
}

std::vector<Tensor> backward(const Tensor& grad, TensorList x, TensorList y, std::string_view h,
                             Floats weight, Floats a, Floats b, IntArrayRef wanted) {
  check_derivative(grad, x, y, weight, a, b);
  check_places("pair_reduce_backward", "wanted", wanted, x);
  const PairFunctor functor = functor_named(h);
  const DType dtype = dtype_of(x[0]);
  const Tensor outer = grad.contiguous();
  Pairs pairs(x, y, weight, a, b, grad.dim() == 1);
  std::vector<Tensor> gradients = pairs.want_gradients(wanted);
  pairs.drop_unwanted();
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    cuda::pair_reduce_backward(functor, dtype, pairs.terms, outer.const_data_ptr(),
                               c10::cuda::getCurrentCUDAStream());
    return gradients;
  }
#endif
  cpu::pair_reduce_backward(functor, dtype, pairs.terms, outer.const_data_ptr());
  return gradients;
}

std::tuple<Tensor, std::vector<Tensor>> double_backward(const Tensor& grad, TensorList x,
                                                        TensorList y, TensorList v,
                                                        std::string_view h, Floats weight, Floats a,
                                                        Floats b, IntArrayRef given,
                                                        IntArrayRef wanted) {
  check_derivative(grad, x, y, weight, a, b);
  check_places("pair_reduce_double_backward", "given", given, x);
  check_places("pair_reduce_double_backward", "wanted", wanted, x);
  check_cotangents("pair_reduce_double_backward", v, inputs_at(given, x));
  const PairFunctor functor = functor_named(h);
  const DType dtype = dtype_of(x[0]);
  const bool per_pair = grad.dim() == 1;
  const Tensor outer = grad.contiguous();
  Tensor dgrad = empty_results(x, per_pair);
  Pairs pairs(x, y, weight, a, b, per_pair);
  pairs.take_second_order(v, given);
  std::vector<Tensor> gradients = pairs.want_gradients(wanted);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = at::empty({cuda::pair_reduce_scratch(pairs.terms, per_pair)},
                               x[0].options().dtype(at::kDouble));
    cuda::pair_reduce_double_backward(functor, dtype, pairs.terms, per_pair, outer.const_data_ptr(),
                                      dgrad.mutable_data_ptr(), scratch.mutable_data_ptr<double>(),
                                      c10::cuda::getCurrentCUDAStream());
    return {dgrad, std::move(gradients)};
  }
#endif
  cpu::pair_reduce_double_backward(functor, dtype, pairs.terms, per_pair, outer.const_data_ptr(),
                                   dgrad.mutable_data_ptr());
  return {dgrad, std::move(gradients)};
}

// Shapes alone, for tracing.

Tensor forward_meta(TensorList x, TensorList y, std::string_view h, Floats weight, Floats a,
                    Floats b, bool per_pair) {
  check(x, y, weight, a, b);
  functor_named(h);
  return empty_results(x, per_pair);
}

std::vector<Tensor> backward_meta(const Tensor&, TensorList x, TensorList, std::string_view, Floats,
                                  Floats, Floats, IntArrayRef wanted) {
  std::vector<Tensor> gradients;
  for (const size_t input : wanted) gradients.push_back(at::empty_like(dense(x[input % x.size()])));
  return gradients;
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_meta(const Tensor& grad, TensorList x,
                                                             TensorList y, TensorList,
                                                             std::string_view h, Floats weight,
                                                             Floats a, Floats b, IntArrayRef given,
                                                             IntArrayRef wanted) {
  return {empty_results(x, grad.dim() == 1), backward_meta(grad, x, y, h, weight, a, b, wanted)};
}

// Autograd. Each order calls the next as an op; the parameters of the terms travel as one
// non-tensor argument.

template <class... Arguments>
Tensor call_forward(const Arguments&... arguments) {
  static const auto call = op<decltype(forward)>("ganfast::pair_reduce");
  return call.call(arguments...);
}

template <class... Arguments>
std::vector<Tensor> call_backward(const Arguments&... arguments) {
  static const auto call = op<decltype(backward)>("ganfast::pair_reduce_backward");
  return call.call(arguments...);
}

template <class... Arguments>
auto call_double_backward(const Arguments&... arguments) {
  static const auto call = op<decltype(double_backward)>("ganfast::pair_reduce_double_backward");
  return call.call(arguments...);
}

// Of the inputs x..., y..., which start at `first` of a function's inputs, those that want a
// gradient.
std::vector<int64_t> wanted_inputs(AutogradContext* ctx, size_t first, size_t count) {
  std::vector<int64_t> wanted;
  for (size_t k = 0; k < count; ++k) {
    if (ctx->needs_input_grad(first + k)) wanted.push_back(k);
  }
  return wanted;
}

variable_list both(TensorList x, TensorList y) {
  variable_list inputs = x.vec();
  inputs.insert(inputs.end(), y.begin(), y.end());
  return inputs;
}

struct DoubleBackward : torch::autograd::Function<DoubleBackward> {
  static variable_list forward(AutogradContext*, const Tensor& grad, TensorList x, TensorList y,
                               TensorList v, const SharedParameters& p, IntArrayRef given,
                               IntArrayRef wanted) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [dgrad, gradients] =
        call_double_backward(grad, x, y, v, p->f, p->weight, p->a, p->b, given, wanted);
    gradients.insert(gradients.begin(), dgrad);
    return gradients;
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "pair_reduce: derivatives of the third order are not implemented; "
                                "use ganfast.reference.pair_reduce");
  }
};

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList x, TensorList y,
                               const SharedParameters& p, IntArrayRef wanted) {
    save(ctx, p);
    ctx->saved_data["wanted"] = wanted;
    ctx->set_materialize_grads(false);
    variable_list saved = both(x, y);
    saved.push_back(grad);
    ctx->save_for_backward(std::move(saved));
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, y, p->f, p->weight, p->a, p->b, wanted);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const variable_list saved = ctx->get_saved_variables();
    const size_t count = (saved.size() - 1) / 2;
    const TensorList inputs(saved.data(), 2 * count);
    const TensorList x = inputs.slice(0, count), y = inputs.slice(count);

    variable_list cotangents;
    std::vector<int64_t> given = ctx->saved_data["wanted"].toIntVector();
    size_t kept = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      if (!v[i].defined()) continue;
      cotangents.push_back(v[i]);
      given[kept++] = given[i];
    }
    given.resize(kept);

    variable_list grads(2 * count + 3);  // grad, x..., y..., parameters, wanted
    if (cotangents.empty()) return grads;
    const std::vector<int64_t> wanted = wanted_inputs(ctx, 1, 2 * count);
    const SharedParameters p = saved_parameters(ctx);
    auto [dgrad, gradients] = call_double_backward(saved.back(), x, y, cotangents, p->f, p->weight,
                                                   p->a, p->b, given, wanted);
    grads[0] = dgrad;
    for (size_t i = 0; i < wanted.size(); ++i) grads[1 + wanted[i]] = gradients[i];
    return grads;
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, TensorList x, TensorList y, const SharedParameters& p,
                        bool per_pair) {
    save(ctx, p);
    ctx->save_for_backward(both(x, y));
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, y, p->f, p->weight, p->a, p->b, per_pair);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    const variable_list inputs = ctx->get_saved_variables();
    const size_t count = inputs.size() / 2;
    variable_list grads(2 * count + 2);  // x..., y..., parameters, per_pair
    const std::vector<int64_t> wanted = wanted_inputs(ctx, 0, 2 * count);
    if (wanted.empty() || !grad[0].defined()) return grads;
    const TensorList all(inputs);
    const SharedParameters p = saved_parameters(ctx);
    const std::vector<Tensor> gradients = call_backward(
        grad[0], all.slice(0, count), all.slice(count), p->f, p->weight, p->a, p->b, wanted);
    for (size_t i = 0; i < wanted.size(); ++i) grads[wanted[i]] = gradients[i];
    return grads;
  }
};

Tensor forward_autograd(TensorList x, TensorList y, std::string_view h, Floats weight, Floats a,
                        Floats b, bool per_pair) {
  if (!records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, y, h, weight, a, b, per_pair);
  }
  return Forward::apply(x, y, c10::make_intrusive<Parameters>(h, weight, a, b), per_pair);
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList x, TensorList y,
                                      std::string_view h, Floats weight, Floats a, Floats b,
                                      IntArrayRef wanted) {
  if (!records(grad) && !records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, y, h, weight, a, b, wanted);
  }
  return Backward::apply(grad, x, y, c10::make_intrusive<Parameters>(h, weight, a, b), wanted);
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(
    const Tensor& grad, TensorList x, TensorList y, TensorList v, std::string_view h, Floats weight,
    Floats a, Floats b, IntArrayRef given, IntArrayRef wanted) {
  variable_list out = DoubleBackward::apply(
      grad, x, y, v, c10::make_intrusive<Parameters>(h, weight, a, b), given, wanted);
  const Tensor dgrad = out.front();
  out.erase(out.begin());
  return {dgrad, std::move(out)};
}

}  // namespace

#define GANFAST_PAIR_REDUCE_OPS(op)                           \
  op(pair_reduce, forward) op(pair_reduce_backward, backward) \
      op(pair_reduce_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_PAIR_REDUCE_OPS)

}  // namespace ganfast

// flat: L = sum_k w_k * mean_i f(x_ki - y_ki; a_k, b_k), its gradient and its second gradient.
#include "flat.h"

#include <ATen/ops/zeros_like.h>

#include "autograd.h"
#include "names.h"

namespace ganfast {
namespace {

// Arguments that all orders share, and their schema: str f, float[] weight, float[] a, float[] b.
#define GANFAST_TERMS std::string_view f, Floats weight, Floats a, Floats b

Subtrahend subtrahend_of(TensorList x, TensorList y) {
  if (y.empty()) return Subtrahend::none;
  for (size_t k = 0; k < x.size(); ++k) {
    if (y[k].sym_sizes() != x[k].sym_sizes() || y[k].scalar_type() != x[k].scalar_type())
      return Subtrahend::repeated;
  }
  return Subtrahend::same;
}

// One number, or one sample with or without an axis for it.
bool repeats(const Tensor& y, const Tensor& x) {
  if (y.sym_numel() == 1 || y.sym_sizes() == x.sym_sizes()) return true;
  if (x.dim() == 0) return false;
  const auto sample = x.sym_sizes().slice(1);
  return y.sym_sizes() == sample ||
         (y.dim() == x.dim() && y.sym_size(0) == 1 && y.sym_sizes().slice(1) == sample);
}

Functor check(TensorList x, TensorList y, GANFAST_TERMS) {
  check_list("x", x);
  check_parameters(x.size(), weight, a, b);
  const Functor functor = functor_named(f);
  if (y.empty()) return functor;
  check_takes_differences(functor, f);
  TORCH_CHECK_VALUE(x.size() == y.size(), "y must be empty or have one for each of the ", x.size(),
                    " tensors, got ", y.size());
  const bool same = subtrahend_of(x, y) == Subtrahend::same;
  for (size_t k = 0; k < x.size(); ++k) {
    check_like("y", k, y[k], x[k], same ? x[k].scalar_type() : loss_dtype(x[k]));
    TORCH_CHECK_VALUE(repeats(y[k], x[k]), "y[", k, "] must have shape ", x[k].sym_sizes(),
                      ", or that of one sample, or one element, got ", y[k].sym_sizes());
  }
  return functor;
}

// The scalar, or one number for each term.
Tensor empty_result(TensorList x, bool per_term) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  return per_term ? at::empty({static_cast<int64_t>(x.size())}, options) : at::empty({}, options);
}

Tensor empty_stats(TensorList x) {
  return at::empty({static_cast<int64_t>(x.size()), 4}, x[0].options().dtype(loss_dtype(x[0])));
}

// The list as the kernels read it. Holds what had to be copied for as long as that is in use.
struct Flat {
  std::vector<Tensor> x, y, v;
  std::vector<FlatTerm> terms;
  FlatList list;

  Flat(TensorList xs, TensorList ys, GANFAST_TERMS, bool per_term) {
    const size_t count = xs.size();
    list = {check(xs, ys, f, weight, a, b), dtype_of(xs[0]), subtrahend_of(xs, ys), per_term, {}};
    x.reserve(count);
    y.reserve(ys.size());
    terms.reserve(count);
    for (size_t k = 0; k < count; ++k) {
      x.push_back(laid_out(xs[k], ys.empty() ? xs[k] : ys[k]));
      const int64_t n = x[k].numel();
      FlatTerm& term = terms.emplace_back(FlatTerm{.x = x[k].const_data_ptr(),
                                                   .n = n,
                                                   .period = n,
                                                   .weight = weight[k] / n,
                                                   .a = a[k],
                                                   .b = b[k]});
      if (ys.empty()) continue;
      y.push_back(y_like(ys[k], k));
      term.y = y[k].const_data_ptr();
      term.period = y[k].numel();
    }
    list.terms = terms;
  }

  // x in one block of memory, sample after sample where one is subtracted from each.
  Tensor laid_out(const Tensor& xk, const Tensor& yk) const {
    const bool by_sample = list.subtrahend == Subtrahend::repeated && yk.numel() > 1;
    return by_sample ? xk.contiguous() : dense(xk);
  }

  // y, or its cotangent, in the memory order of x
  Tensor y_like(const Tensor& yk, size_t k) const {
    return list.subtrahend == Subtrahend::same ? dense_like(yk, x[k]) : yk.contiguous();
  }

  // Memory for the gradients in the inputs x... y... at some places.
  std::vector<Tensor> want(Places wanted) {
    check_places("wanted", wanted, x.size() + y.size());
    std::vector<Tensor> gradients;
    gradients.reserve(wanted.size());
    for (const size_t place : wanted) {
      const bool of_x = place < x.size();
      const size_t k = of_x ? place : place - x.size();
      gradients.push_back(at::empty_like(of_x ? x[k] : y[k]));
      (of_x ? terms[k].dx : terms[k].dy) = gradients.back().mutable_data_ptr();
    }
    return gradients;
  }

  // Cotangents of the gradients at some places.
  void take(TensorList cotangents, Places given) {
    check_places("given", given, x.size() + y.size());
    TORCH_CHECK_VALUE(cotangents.size() == given.size(), "v must have one for each of the ",
                      given.size(), " given places, got ", cotangents.size());
    v.reserve(given.size());
    for (size_t i = 0; i < given.size(); ++i) {
      const size_t place = given[i];
      const bool of_x = place < x.size();
      const size_t k = of_x ? place : place - x.size();
      const Tensor& like = of_x ? x[k] : y[k];
      check_like("v", i, cotangents[i], like, like.scalar_type());
      check_same_shape("v", i, cotangents[i], like);
      v.push_back(of_x ? dense_like(cotangents[i], like) : y_like(cotangents[i], k));
      (of_x ? terms[k].vx : terms[k].vy) = v.back().const_data_ptr();
    }
  }
};

variable_list forward(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                      std::optional<double> threshold) {
  const Flat flat(x, y, f, weight, a, b, per_term);
  TORCH_CHECK_VALUE(!threshold || y.empty(), "threshold must be None where there is a y");
  variable_list made{empty_result(x, per_term)};
  if (threshold) made.push_back(empty_stats(x));
  GANFAST_RUN(x[0], flat_forward, flat.list, made[0].mutable_data_ptr(),
              threshold ? made[1].mutable_data_ptr() : nullptr, threshold.value_or(0));
  return made;
}

// The gradient that comes back: of the dtype and on the device of the result.
Tensor check_grad(const Tensor& grad, TensorList x) {
  check_like("grad", 0, grad, x[0], loss_dtype(x[0]));
  TORCH_CHECK_VALUE(grad.dim() == 0 || (grad.dim() == 1 && grad.size(0) == int64_t(x.size())),
                    "grad must be a scalar or have one number for each of the ", x.size(),
                    " terms, got shape ", grad.sizes());
  return grad.contiguous();
}

variable_list backward(const Tensor& grad_, TensorList x, TensorList y, GANFAST_TERMS,
                       Places wanted) {
  Flat flat(x, y, f, weight, a, b, grad_.dim() == 1);
  const Tensor grad = check_grad(grad_, x);
  variable_list gradients = flat.want(wanted);
  GANFAST_RUN(x[0], flat_backward, flat.list, grad.const_data_ptr());
  return gradients;
}

variable_list double_backward(const Tensor& grad_, TensorList x, TensorList y, TensorList v,
                              GANFAST_TERMS, Places given, Places wanted) {
  const bool per_term = grad_.dim() == 1;
  Flat flat(x, y, f, weight, a, b, per_term);
  const Tensor grad = check_grad(grad_, x);
  flat.take(v, given);
  variable_list made = flat.want(wanted);
  made.insert(made.begin(), empty_result(x, per_term));
  GANFAST_RUN(x[0], flat_double_backward, flat.list, grad.const_data_ptr(),
              made[0].mutable_data_ptr());
  return made;
}

// Shapes alone, for tracing.

variable_list forward_meta(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                           std::optional<double> threshold) {
  check(x, y, f, weight, a, b);
  variable_list made{empty_result(x, per_term)};
  if (threshold) made.push_back(empty_stats(x));
  return made;
}

variable_list backward_meta(const Tensor&, TensorList x, TensorList y, GANFAST_TERMS,
                            Places wanted) {
  const bool repeated = subtrahend_of(x, y) == Subtrahend::repeated;
  variable_list gradients;
  for (const size_t place : wanted) {
    const size_t k = place % x.size();
    const bool by_sample = repeated && y[k].sym_numel() != 1;
    const Tensor like = by_sample ? x[k].contiguous() : dense(x[k]);
    gradients.push_back(at::empty_like(repeated && place >= x.size() ? y[k].contiguous() : like));
  }
  return gradients;
}

variable_list double_backward_meta(const Tensor& grad, TensorList x, TensorList y, TensorList,
                                   GANFAST_TERMS, Places, Places wanted) {
  variable_list made = backward_meta(grad, x, y, f, weight, a, b, wanted);
  made.insert(made.begin(), empty_result(x, grad.dim() == 1));
  return made;
}

// Autograd.

variable_list call(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                   std::optional<double> threshold) {
  static const auto handle = op<decltype(forward)>("ganfast::flat");
  return handle.call(x, y, f, weight, a, b, per_term, threshold);
}

struct Call : ListCall {
  size_t terms;
  std::string f;
  std::vector<double> weight, a, b;

  Call(size_t terms, GANFAST_TERMS)
      : terms(terms), f(f), weight(weight.vec()), a(a.vec()), b(b.vec()) {}

  const char* name() const override { return "flat"; }

  variable_list first(const Tensor& grad, TensorList inputs, Places wanted) const override {
    static const auto handle = op<decltype(backward)>("ganfast::flat_backward");
    return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), f, weight, a, b, wanted);
  }

  variable_list second(const Tensor& grad, TensorList inputs, TensorList v, Places given,
                       Places wanted) const override {
    static const auto handle = op<decltype(double_backward)>("ganfast::flat_double_backward");
    return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), v, f, weight, a, b, given,
                       wanted);
  }
};

c10::SmallVector<Tensor, 8> both(TensorList x, TensorList y) {
  c10::SmallVector<Tensor, 8> inputs(x.begin(), x.end());
  inputs.append(y.begin(), y.end());
  return inputs;
}

variable_list forward_autograd(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                               std::optional<double> threshold) {
  if (!records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call(x, y, f, weight, a, b, per_term, threshold);
  }
  return with_graph(both(x, y), c10::make_intrusive<Call>(x.size(), f, weight, a, b),
                    [&] { return call(x, y, f, weight, a, b, per_term, threshold); });
}

variable_list backward_autograd(const Tensor& grad, TensorList x, TensorList y, GANFAST_TERMS,
                                Places wanted) {
  const auto of = c10::make_intrusive<Call>(x.size(), f, weight, a, b);
  if (!records(grad) && !records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return of->first(grad, both(x, y), wanted);
  }
  return first_with_graph(grad, both(x, y), of, wanted);
}

variable_list double_backward_autograd(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                                       GANFAST_TERMS, Places given, Places wanted) {
  return second_with_graph(grad, both(x, y), v,
                           c10::make_intrusive<Call>(x.size(), f, weight, a, b), given, wanted);
}

}  // namespace

#define GANFAST_FLAT_OPS(op) \
  op(flat, forward) op(flat_backward, backward) op(flat_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_FLAT_OPS)

}  // namespace ganfast

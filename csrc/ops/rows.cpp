// rows: s_p = sum_k w_k * s_kp * mean_j f(x_kpj - y_kpj; a_kp, b_k), or the mean of phi(s_p),
// its gradient and its second gradient.
//
// With a phi, the forward also returns the first two derivatives of the result in each s_p. They
// are all that the other orders need to know of phi.
#include "rows.h"

#include "autograd.h"
#include "tensor_lists.h"

namespace ganfast {
namespace {

constexpr auto kName = "rows";

// Arguments that all orders share, and how they are passed on.
#define GANFAST_ROWS                                                                        \
  const OfSamples &sample_weight, const OfSamples &sample_a, GANFAST_TERMS, bool normalize, \
      bool pixel
#define GANFAST_PASS_ROWS sample_weight, sample_a, f, weight, a, b, normalize, pixel

// The number of positions: samples, or pixels.
c10::SymInt positions(const Tensor& x, bool pixel) {
  return pixel ? x.sym_numel() / x.sym_size(1) : x.sym_size(0);
}

bool have_samples(TensorList x, bool pixel) {
  for (const Tensor& xk : x) {
    const auto shape = xk.sym_sizes(), first = x[0].sym_sizes();
    if (xk.dim() < (pixel ? 2 : 1) || shape[0] != first[0]) return false;
    if (pixel && (xk.dim() != x[0].dim() || shape.slice(2) != first.slice(2))) return false;
  }
  return true;
}

bool are_of_samples(const OfSamples& numbers, TensorList x) {
  for (const std::optional<Tensor> given : numbers) {
    if (given && !(is_like(*given, x[0], loss_dtype(x[0])) && given->dim() == 1 &&
                   given->sym_size(0) == x[0].sym_size(0)))
      return false;
  }
  return numbers.empty() || numbers.size() == x.size();
}

variable_list those_of(const OfSamples& sample_weight, const OfSamples& sample_a) {
  variable_list given;
  for (const OfSamples* numbers : {&sample_weight, &sample_a})
    for (const std::optional<Tensor> of_samples : *numbers)
      if (of_samples) given.push_back(*of_samples);
  return given;
}

struct Rows : Lists {
  RowsList list;
  std::vector<Tensor> of_samples;

  Rows(TensorList xs, TensorList ys, GANFAST_ROWS) : Lists(kName, xs, ys, f, weight, a, b) {
    GANFAST_CHECK(kName, have_samples(xs, pixel) && are_alike(ys, xs));
    GANFAST_CHECK(kName, are_of_samples(sample_weight, xs) && are_of_samples(sample_a, xs));
    GANFAST_CHECK(kName, !pixel || (functor == Functor::square && ys.empty() &&
                                    those_of(sample_weight, sample_a).empty()));
    for (size_t k = 0; k < xs.size(); ++k) {
      x.push_back(pixel ? xs[k].contiguous() : dense_samples(xs[k]));
      if (!ys.empty()) y.push_back(dense_like(ys[k], x[k]));
    }
    if (xs[0].is_meta()) return;
    const int64_t outer = xs[0].size(0);
    const int64_t inner = pixel ? xs[0].numel() / outer / xs[0].size(1) : 1;
    make_terms(outer * inner, weight, a, b);
    for (size_t k = 0; k < terms.size(); ++k) {
      terms[k].sample_weight = numbers(sample_weight, k);
      terms[k].sample_a = numbers(sample_a, k);
    }
    const Subtrahend kind = ys.empty() ? Subtrahend::none : Subtrahend::same;
    list = {{functor, dtype_of(xs[0]), kind, terms}, normalize, outer, inner};
  }

  const void* numbers(const OfSamples& samples, size_t k) {
    const std::optional<Tensor> given = samples.empty() ? std::nullopt : samples[k];
    if (!given) return nullptr;
    of_samples.push_back(given->contiguous());
    return of_samples.back().const_data_ptr();
  }
};

variable_list forward(TensorList x, TensorList y, GANFAST_ROWS, std::string_view phi_name,
                      Floats of_phi) {
  const Rows rows(x, y, GANFAST_PASS_ROWS);
  const auto* const named = std::ranges::find(kPhis, phi_name);
  GANFAST_CHECK(kName, named != std::end(kPhis));
  RowsPhi phi{static_cast<Phi>(named - kPhis), 1, 0, 0};
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  const c10::SymInt count = positions(x[0], pixel);
  variable_list made;
  if (phi.phi == Phi::identity) {
    made = {at::empty_symint({count}, options)};
  } else {
    const bool plain = f == "square" && y.empty() && those_of(OfSamples(), sample_a).empty() &&
                       std::all_of(a.begin(), a.end(), [](double ak) { return ak == 0; });
    GANFAST_CHECK(kName, plain && of_phi.size() == 3);
    phi = {phi.phi, of_phi[0], of_phi[1], of_phi[2]};
    made = {at::empty({}, options), at::empty_symint({2, count}, options)};
  }
  GANFAST_RUN(x[0], rows_forward, rows.list, phi, made[0].mutable_data_ptr(),
              made.size() > 1 ? made[1].mutable_data_ptr() : nullptr);
  return made;
}

// The gradient that comes back, with equal steps of 0 or 1, as the sum over samples and other ops
// send it; a scalar where there are derivatives of a phi.
struct Gradient {
  Tensor grad, derivatives;

  Gradient(const Tensor& given, const std::optional<Tensor>& of_phi, TensorList x, bool pixel) {
    const c10::SymInt count = positions(x[0], pixel);
    GANFAST_CHECK(kName, is_like(given, x[0], loss_dtype(x[0])));
    GANFAST_CHECK(kName,
                  of_phi ? given.sym_numel() == 1 : given.dim() == 1 && given.sym_size(0) == count);
    GANFAST_CHECK(kName, !of_phi || (is_like(*of_phi, x[0], loss_dtype(x[0])) &&
                                     of_phi->sym_sizes().equals({2, count})));
    grad = of_phi || given.sym_stride(0) == 0 ? given : given.contiguous();
    if (of_phi) derivatives = of_phi->contiguous();
  }

  RowsGrad view() const {
    if (derivatives.defined()) return {grad.const_data_ptr(), 0, derivatives.const_data_ptr()};
    return {grad.const_data_ptr(), grad.stride(0), nullptr};
  }
};

variable_list backward(const Tensor& grad, TensorList x, TensorList y,
                       const std::optional<Tensor>& derivatives, GANFAST_ROWS, Places wanted) {
  Rows rows(x, y, GANFAST_PASS_ROWS);
  const Gradient outer(grad, derivatives, x, pixel);
  const variable_list gradients = rows.want(wanted);
  GANFAST_RUN(x[0], rows_backward, rows.list, outer.view());
  return gradients;
}

variable_list double_backward(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                              const std::optional<Tensor>& derivatives, GANFAST_ROWS, Places given,
                              Places wanted) {
  Rows rows(x, y, GANFAST_PASS_ROWS);
  const Gradient outer(grad, derivatives, x, pixel);
  rows.take(v, given);
  const variable_list made =
      rows.want(wanted, {at::empty_symint(grad.sym_sizes(), grad.options())});
  GANFAST_RUN(x[0], rows_double_backward, rows.list, outer.view(), made[0].mutable_data_ptr());
  return made;
}

// Autograd.

struct Family {
  static constexpr const char *kFirst = "ganfast::rows_backward",
                              *kSecond = "ganfast::rows_double_backward";

  static const char* name(const std::optional<Tensor>& derivatives, GANFAST_ROWS) {
    return derivatives ? "norms" : kName;
  }
  static variable_list constants(const std::optional<Tensor>& derivatives, GANFAST_ROWS) {
    return those_of(sample_weight, sample_a);
  }
};
using OfRows = Autograd<Family, const std::optional<Tensor>&, const OfSamples&, const OfSamples&,
                        std::string_view, Floats, Floats, Floats, bool, bool>;

variable_list forward_autograd(TensorList x, TensorList y, GANFAST_ROWS, std::string_view phi,
                               Floats of_phi) {
  static const auto handle = op<decltype(forward)>("ganfast::rows");
  const auto make = [&] { return handle.call(x, y, GANFAST_PASS_ROWS, phi, of_phi); };
  if (!records(x) && !records(y)) return below_autograd(make);
  const auto call = c10::make_intrusive<OfRows::Call>(x, y, std::nullopt, GANFAST_PASS_ROWS);
  return OfRows::Forward::apply(TensorList(joined(x, y)), call, [&] {
    variable_list made = make();
    if (made.size() > 1) std::get<0>(call->arguments) = made[1];  // the derivatives of phi
    return made;
  });
}

constexpr auto backward_autograd = OfRows::backward;
constexpr auto double_backward_autograd = OfRows::double_backward;

}  // namespace

#define GANFAST_ROWS_OPS(op) \
  op(rows, forward) op(rows_backward, backward) op(rows_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_ROWS_OPS)

}  // namespace ganfast

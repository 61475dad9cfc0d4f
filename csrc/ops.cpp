// Table of contents: the schema of every op, and what this library was built from.
//
//   x       tensors of one dtype and device, of any shapes and strides
//   weight  w_k, one number for each tensor
//   grad    gradient with respect to the scalar result
#include "ops/python.h"

#ifdef __clang__
#define GANFAST_COMPILER __VERSION__
#else
#define GANFAST_COMPILER "GCC " __VERSION__
#endif

#ifndef GANFAST_CUDA_ARCHS
#define GANFAST_CUDA_ARCHS ""
#endif

TORCH_LIBRARY(ganfast, m) {
  // sum_k w_k * mean_i f(x_ki; a_k, b_k), for the functors of math/unary_reduce.h
  m.def("unary_reduce(Tensor[] x, str f, float[] weight, float[] a, float[] b) -> Tensor");
  // the same, and for each tensor w_k * mean f, mean x, the shares of x above and below a threshold
  m.def(
      "unary_reduce_stats(Tensor[] x, str f, float[] weight, float[] a, float[] b, "
      "float threshold) -> (Tensor, Tensor)");
  m.def(
      "unary_reduce_backward(Tensor grad, Tensor[] x, str f, float[] weight, float[] a, float[] b) "
      "-> Tensor[]");
  m.def(
      "unary_reduce_double_backward(Tensor grad, Tensor[] x, Tensor[] v, str f, float[] weight, "
      "float[] a, float[] b) -> (Tensor, Tensor[])");

  // (B,): for each sample b, sum_k w_k * s_kb * mean_j f(x_kbj; a_k, b_k); the s_k are ones where
  // the list is empty or holds none, and with normalize are divided by their mean (their sum counts
  // as 1 where it is 0); what sample_a holds replaces a_k by a number for each sample
  m.def(
      "unary_rows(Tensor[] x, Tensor?[] sample_weight, Tensor?[] sample_a, str f, float[] weight, "
      "float[] a, float[] b, bool normalize) -> Tensor");
  // the same, and for each tensor its part of the sum of the result, mean x, the shares of x above
  // and below a threshold
  m.def(
      "unary_rows_stats(Tensor[] x, Tensor?[] sample_weight, Tensor?[] sample_a, str f, "
      "float[] weight, float[] a, float[] b, bool normalize, float threshold) -> "
      "(Tensor, Tensor)");
  m.def(
      "unary_rows_backward(Tensor grad, Tensor[] x, Tensor?[] sample_weight, Tensor?[] sample_a, "
      "str f, float[] weight, float[] a, float[] b, bool normalize) -> Tensor[]");
  m.def(
      "unary_rows_double_backward(Tensor grad, Tensor[] x, Tensor[] v, Tensor?[] sample_weight, "
      "Tensor?[] sample_a, str f, float[] weight, float[] a, float[] b, bool normalize) -> "
      "(Tensor, "
      "Tensor[])");

  // sum_k w_k * mean_i h(x_ki, y_ki; a_k, b_k), for the functors of math/pair_reduce.h; with
  // per_pair, the terms of the sum. `wanted` names the gradients to return, k for x_k and K + k for
  // y_k; `given` names so the first-order gradients that v belongs to.
  m.def(
      "pair_reduce(Tensor[] x, Tensor[] y, str h, float[] weight, float[] a, float[] b, "
      "bool per_pair) -> Tensor");
  m.def(
      "pair_reduce_backward(Tensor grad, Tensor[] x, Tensor[] y, str h, float[] weight, float[] a, "
      "float[] b, int[] wanted) -> Tensor[]");
  m.def(
      "pair_reduce_double_backward(Tensor grad, Tensor[] x, Tensor[] y, Tensor[] v, str h, "
      "float[] weight, float[] a, float[] b, int[] given, int[] wanted) -> (Tensor, Tensor[])");

  // Polar factors u of matrices a (matrices, rows, columns), with <u, a> and |a - a u^T u|_F^2 of
  // each; the first steps in float32
  m.def(
      "polar(Tensor a, float[] coefficients, int single_steps) -> (Tensor u, Tensor inner, Tensor "
      "residual)");

  // weight * mean_b phi(s_b; a, b) with s_b = sum_k sum_j g_kbj^2 over the elements of a sample, or
  // over the channels of a pixel, for the functors of math/norm_reduce.h; and its first two
  // derivatives in each s_b
  m.def(
      "norm_reduce(Tensor[] g, str phi, float weight, float a, float b, bool pixel) -> "
      "(Tensor, Tensor)");
  m.def(
      "norm_reduce_backward(Tensor grad, Tensor[] g, Tensor derivatives, bool pixel) -> Tensor[]");
  m.def(
      "norm_reduce_double_backward(Tensor grad, Tensor[] g, Tensor[] v, Tensor derivatives, "
      "bool pixel) -> (Tensor, Tensor[])");

  // The affine map of math/augment.h on each sample of x (samples, channels, height, width), with
  // the numbers u drawn for it, and its linear part or the adjoint of that
  m.def("augment(Tensor x, Tensor u, bool color, bool translation, bool cutout) -> Tensor");
  m.def(
      "augment_linear(Tensor x, Tensor u, bool color, bool translation, bool cutout, "
      "bool adjoint) -> Tensor");

  // out = max(weight * x + bias, lower), by channel: a convolution of float32 images whose channels
  // are side by side, with the weights as ganfast/features/packed.py lays them out
  m.def(
      "convolution_(Tensor(a!) out, Tensor x, Tensor weight, Tensor bias, Tensor lower, "
      "int[] kernel, int stride, int[] padding, int[] tile) -> ()");
}

namespace {

using at::Tensor;
using at::TensorList;
using ganfast::Floats;
using ganfast::python::define;
using OfSamples = c10::List<std::optional<Tensor>>;
using Pair = std::tuple<Tensor, Tensor>;
using Name = std::string_view;

pybind11::dict build_info() {
  pybind11::dict info;
  info["compiler"] = GANFAST_COMPILER;
  info["cuda_archs"] = GANFAST_CUDA_ARCHS;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "The compiled kernels of ganfast; the ops are in torch.ops.ganfast.";
  m.def("build_info", &build_info, "What this library was compiled from and for.");
  define<Tensor(TensorList, Name, Floats, Floats, Floats)>(m, "unary_reduce");
  define<Pair(TensorList, Name, Floats, Floats, Floats, double)>(m, "unary_reduce_stats");
  define<Tensor(TensorList, const OfSamples&, const OfSamples&, Name, Floats, Floats, Floats,
                bool)>(m, "unary_rows");
  define<Pair(TensorList, const OfSamples&, const OfSamples&, Name, Floats, Floats, Floats, bool,
              double)>(m, "unary_rows_stats");
  define<Tensor(TensorList, TensorList, Name, Floats, Floats, Floats, bool)>(m, "pair_reduce");
}

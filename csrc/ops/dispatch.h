// From an op to the kernel of its device, and into the dispatcher.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "tensors.h"
#include "workspace.h"

#ifdef GANFAST_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#define GANFAST_RUN_CUDA(x, ...) \
  if ((x).is_cuda()) return run_cuda(x, [&](const ::ganfast::Workspace& on) { __VA_ARGS__; });
#define GANFAST_ENTER_CUDA(entries) GANFAST_ENTER(CUDA, entries)
#else
#define GANFAST_RUN_CUDA(x, ...)
#define GANFAST_ENTER_CUDA(entries)
#endif

// Calls kernel(arguments...) of the device that x is on, on CUDA with its stream and memory; on the
// Meta device, where results have shapes alone, nothing.
#define GANFAST_RUN(x, kernel, ...)                               \
  [&] {                                                           \
    GANFAST_RUN_CUDA(x, ::ganfast::cuda::kernel(__VA_ARGS__, on)) \
    if (!(x).is_meta()) ::ganfast::cpu::kernel(__VA_ARGS__);      \
  }()

namespace ganfast {

#ifdef GANFAST_CUDA
template <class Body>
void run_cuda(const Tensor& x, Body body) {
  const c10::cuda::CUDAGuard guard(x.device());
  std::vector<Tensor> held;  // the allocator gives memory to this stream alone
  auto allocate = [&](int64_t count) {
    held.push_back(at::empty({count}, x.options().dtype(at::kDouble)));
    return held.back().mutable_data_ptr<double>();
  };
  body(Workspace{
      c10::cuda::getCurrentCUDAStream(),
      [](void* owner, int64_t count) { return (*static_cast<decltype(allocate)*>(owner))(count); },
      &allocate});
}
#endif

// The op of a name.
template <class Signature>
auto op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace ganfast

// A family lists its ops as op(name, f); each is f, and its part in autograd is f_autograd.
#define GANFAST_KERNEL(name, f) m.impl(#name, f);
#define GANFAST_AUTOGRAD(name, f) m.impl(#name, f##_autograd);

#define GANFAST_ENTER(key, entries)     \
  TORCH_LIBRARY_IMPL(ganfast, key, m) { \
    entries                             \
  }

#define GANFAST_REGISTER(ops)              \
  GANFAST_ENTER(CPU, ops(GANFAST_KERNEL))  \
  GANFAST_ENTER_CUDA(ops(GANFAST_KERNEL))  \
  GANFAST_ENTER(Meta, ops(GANFAST_KERNEL)) \
  GANFAST_ENTER(Autograd, ops(GANFAST_AUTOGRAD))

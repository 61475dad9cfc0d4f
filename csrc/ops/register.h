// Enters a family's ops with the dispatcher. A family lists them as op(name, f); the kernel of each
// is f, its shapes alone are f_meta, its road through autograd is f_autograd.
#pragma once

#include <torch/library.h>

#define GANFAST_KERNEL(name, f) m.impl(#name, f);
#define GANFAST_META(name, f) m.impl(#name, f##_meta);
#define GANFAST_AUTOGRAD(name, f) m.impl(#name, f##_autograd);

#define GANFAST_ENTER(key, entries)     \
  TORCH_LIBRARY_IMPL(ganfast, key, m) { \
    entries                             \
  }

#ifdef GANFAST_CUDA
#define GANFAST_ENTER_CUDA(entries) GANFAST_ENTER(CUDA, entries)
#else
#define GANFAST_ENTER_CUDA(entries)
#endif

#define GANFAST_REGISTER(ops)             \
  GANFAST_ENTER(CPU, ops(GANFAST_KERNEL)) \
  GANFAST_ENTER_CUDA(ops(GANFAST_KERNEL)) \
  GANFAST_ENTER(Meta, ops(GANFAST_META))  \
  GANFAST_ENTER(Autograd, ops(GANFAST_AUTOGRAD))

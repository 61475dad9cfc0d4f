"""Drop-in for ``basicsr.ops.fused_act`` and ``basicsr.ops.upfirdn2d``: GFPGAN and others.

At the top of the script, before basicsr or gfpgan is imported, add ::

    import ganfast.compat.basicsr_ops; ganfast.compat.basicsr_ops.install()

GFPGAN's first networks, RestoreFormer, MARCONet and GCFSR then run, on the CPU too, without
compiled extensions of basicsr. For a copy such as CodeFormer's, the argument is its package. The
losses of the project are in :mod:`ganfast.compat.basicsr`.
"""

import sys

from ganfast.compat._modules import serve
from ganfast.compat.rosinality_ops import FusedLeakyReLU, fused_leaky_relu, upfirdn2d

__all__ = ["FusedLeakyReLU", "fused_leaky_relu", "install", "upfirdn2d"]


def install(package: str = "basicsr.ops") -> None:
    """Make the project's modules of these operations this module.

    Args:
        package: dotted name of the package that they are in; ``"basicsr.models.ops"`` until
            basicsr 1.1.

    Raises:
        RuntimeError: the project's own are already imported.
    """
    this = sys.modules[__name__]
    names = ("fused_act", "fused_act.fused_act", "upfirdn2d", "upfirdn2d.upfirdn2d")
    serve(package, {name: this for name in names})

"""Whole training steps of public trainers, their losses in four ways; see bench/steps/trainer.py.

A row's value is the sum of the step's losses; the floor has none, and no error.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from bench.kit import Case
from bench.steps import autoencoders, images, stylegans, translation, vocoders
from bench.steps.trainer import WAYS, Step, Trainer

TRAINERS: Mapping[str, Callable[[bool], Trainer]] = {
    "HiFi-GAN v3, 2 x 8192 samples": vocoders.HiFiGAN,
    "BigVGAN's discriminators, 2 x 8192 samples": vocoders.bigvgan,
    "RVC's discriminators, 2 x 8192 samples": vocoders.rvc,
    "DAC, 8192 samples": autoencoders.DAC,
    "VQGAN, 2 x 64 x 64": autoencoders.VQGAN,
    "1-D tokenizer, 2 x 64 x 64": autoencoders.Tokenizer,
    "pix2pix, 2 x 128 x 128": translation.Pix2Pix,
    "CycleGAN, 128 x 128": translation.CycleGAN,
    "pix2pixHD, 128 x 128": translation.Pix2PixHD,
    "StyleGAN2-ADA with R1, 4 x 64 x 64": stylegans.StyleGAN2,
    "R3GAN, 4 x 32 x 32": stylegans.R3GAN,
    "DCGAN tutorial, 32 x 64 x 64": images.DCGAN,
    "distillation with heads, 2 x 64 x 64": images.Distillation,
}


def cases() -> list[Case]:
    """One case for each trainer."""
    return [
        Case(
            "steps",
            name,
            _placeholder,
            {way: partial(_run, name, way) for way in WAYS},
            modes=("forward",),
            reference=partial(_run, name, "own"),
            unvalued=("floor",),
            rounds=10,
        )
        for name in TRAINERS
    ]


def _placeholder() -> list[Tensor]:
    """The step has its own data; this tells dtype and device."""
    return [torch.zeros(1)]


def _run(name: str, way: str, x: list[Tensor]) -> float:
    return float(_step(name, way, x[0].dtype, x[0].device)())


@lru_cache(maxsize=len(WAYS) + 1)  # of one trainer: the networks of all would fill the memory
def _step(name: str, way: str, dtype: torch.dtype, device: torch.device) -> Step:
    return Step(TRAINERS[name], way, dtype, device)

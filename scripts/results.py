"""Train every system of the tutorials on the embedded digits, and write docs/results.md.

    python scripts/results.py                    # about two hours; stopped, it goes on
    python scripts/results.py --steps 20 --out /tmp/results --docs /tmp/docs    # to try it
    python scripts/results.py --emoji noto-64.zip    # GANs on emoji: docs/results-emoji.md

Each system is one ``ganfast train``; its line says how to do it again.
"""

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ganfast._files import atomic_write
from ganfast.reporting import environment, images, plot
from ganfast.train import config
from ganfast.train.journal import read_records
from ganfast.workflows import autoencoder, cyclegan, gan
from ganfast.workflows import train as recipe

Figures = dict[str, float]
Row = tuple[str, str, Figures]  # name, words and figures of a system

GANS = {
    "BCE, MLP 256-512-1024, dropout": "model=mlp-1024 loss=bce steps=4000",
    "BCE, MLP 128-256": "model=mlp-256 loss=bce steps=6000 lr_g=5e-4 lr_d=5e-4",
    "BCE, MLP 128": "model=mlp-128 loss=bce steps=6000 lr_g=1e-3 lr_d=1e-3",
    "BCE with sigmoid, MLP 128": "model=mlp-128 loss=bce sigmoid=true steps=6000"
    " lr_g=1e-3 lr_d=1e-3",
    "WGAN, weights clipped": "model=wgan loss=wasserstein clip_weights=0.02 d_steps=3 steps=1300"
    " lr_g=5e-4 lr_d=5e-4 betas_g=[0,0.9] betas_d=[0,0.9]",
    "WGAN-GP": "model=wgan loss=wasserstein penalty=wgan_gp d_steps=2 steps=600"
    " lr_g=1e-3 lr_d=1e-3 betas_g=[0,0.9] betas_d=[0,0.9]",
    "LSGAN": "model=dcgan loss=least_squares lr_g=2e-3 lr_d=5e-4 steps=1200",
    "hinge, spectral norm": "model=wgan loss=hinge spectral_norm=true lr_g=1e-3 lr_d=2e-3"
    " betas_g=[0,0.9] betas_d=[0,0.9] steps=1000",
    "non-saturating, R1": "model=wgan penalty=r1 penalty_weight=0.1 penalty_every=4"
    " lr_g=1e-3 lr_d=1e-3 steps=1000",
    "RpGAN, R1 and R2": "model=wgan loss=relativistic penalty=r1_r2 penalty_weight=0.1"
    " lr_g=1e-3 lr_d=1e-3 betas_g=[0,0.9] betas_d=[0,0.9] steps=800",
    "DCGAN": "model=dcgan lr_g=2e-3 lr_d=1e-3 steps=1200",
    "DCGAN, 64 pixels": "model=dcgan size=64 lr_g=1e-3 lr_d=5e-4 reuse_fakes=true steps=1000",
    "conditional DCGAN": "model=cdcgan lr_g=2e-3 lr_d=1e-3 steps=1200",
    "SNGAN, residual": "model=sngan loss=hinge spectral_norm=true lr_g=5e-4 lr_d=1e-3"
    " betas_g=[0,0.9] betas_d=[0,0.9] steps=500",
}
CYCLES = {
    "CycleGAN, digits and inverted digits": "model=cyclegan b=digits:inverted",
    "CycleGAN, digits and rotated digits": "model=cyclegan b=digits:rotated",
}
AUTOENCODERS = {
    "autoencoder": "model=autoencoder",
    "convolutional autoencoder": "model=conv-autoencoder",
    "denoising autoencoder": "model=denoising-autoencoder",
}

_R3GAN = (
    "model=r3gan-64 loss=relativistic penalty=r1_r2 penalty_weight=2 penalty_end=0.1"
    " betas_g=[0,0.9] betas_d=[0,0.9] beta2_end=0.99 lr_g=1e-3 lr_d=1e-3 lr_end=0.25"
    " burn_in_kimg=16 ema_kimg=0.5 batch_size=16 precision=bf16 steps=1400 log_every=25"
    " score_every=100 sample_every=200 checkpoint_every=100"
)
#: On emoji at 64 pixels, each for some 20 minutes of one core that has products of bf16.
EMOJI = {
    "DCGAN, emoji": "model=dcgan lr_g=1e-3 lr_d=5e-4 reuse_fakes=true precision=bf16 steps=3000"
    " score_every=200 sample_every=400 checkpoint_every=200",
    "SNGAN, emoji": "model=sngan loss=hinge spectral_norm=true lr_g=5e-4 lr_d=1e-3"
    " betas_g=[0,0.9] betas_d=[0,0.9] precision=bf16 steps=700 score_every=50"
    " sample_every=100 checkpoint_every=50 log_every=10",
    "R3GAN, emoji": _R3GAN,
    "R3GAN, ADA, emoji": f"{_R3GAN} augment=ada augment_p=0.3",
    "R3GAN, DiffAugment, emoji": f"{_R3GAN} augment=color,translation,cutout",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--steps", type=int, help="of each system, to try the script")
    parser.add_argument("--only", default="", help="systems with this in their name")
    parser.add_argument("--so-far", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--emoji", help="train the GANs of these 64-pixel images instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of GANs on emoji")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.emoji:
        _emoji(chosen)
        return
    tables: list[list[Row]] = []
    missing: list[str] = []
    for systems, run in ((GANS, _gan), (CYCLES, _cycle), (AUTOENCODERS, _autoencoder)):
        tables.append([])
        for name, words in systems.items():
            if chosen.only.lower() not in name.lower():
                continue
            folder, parts = chosen.out / _slug(name), _parts(words, chosen.steps)
            figures = _figures(folder, parts)
            if figures is None and chosen.so_far:
                missing.append(name)
                continue
            tables[-1].append((name, words, figures or _train(run, folder, parts)))
    _write(chosen.docs, chosen.out, tables, missing, chosen.steps)


def _emoji(chosen: argparse.Namespace) -> None:
    """Train the systems on emoji, and write their page."""
    common = [f"data={chosen.emoji}", "size=64", "channels=3"]
    rows: list[Row] = []
    missing: list[str] = []
    for seed, name in itertools.product(chosen.seeds, EMOJI):
        if chosen.only.lower() not in name.lower():
            continue
        words = f"{EMOJI[name]} seed={seed}"
        folder = chosen.out / _slug(f"{name} {seed}")
        settings = config.read(gan.Config, None, [*_parts(words, chosen.steps), *common])
        settings = gan.fitted(settings)
        if not chosen.so_far:
            _timed(settings, folder)
        elif not (folder / "seconds.json").exists():
            missing.append(f"{name} with seed {seed}")
            continue
        of_run = {"steps": settings.steps, "batch": settings.batch_size, "seed": seed}
        rows.append((name, words, {**of_run, **_reached(folder)}))
    score = gan.score_of(settings, gan.real_images(settings), "cpu")
    assert score is not None
    _write_emoji(chosen.docs, chosen.out, rows, missing, score.real_against_real(), chosen.steps)


def _timed(settings: gan.Config, folder: Path) -> None:
    """Train a GAN to the end, and add up the seconds of the processor over all attempts."""
    path, start = folder / "seconds.json", time.process_time()
    before = json.loads(path.read_text()) if path.exists() else 0.0
    try:
        resume = (folder / "checkpoint.pt").exists()
        finished = recipe.train(settings, folder, resume=resume).finished
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(before + time.process_time() - start).encode())
    _refuse_stopped(finished)


def _reached(folder: Path) -> Figures:
    """Return what the log of a run says so far."""
    records = read_records(folder / "metrics.jsonl")
    found = [r for r in records if "swd" in r]
    seconds = json.loads((folder / "seconds.json").read_text())
    return {
        "start": found[0]["swd"],
        "last": found[-1]["swd"],
        "best": min(r["swd"] for r in found),
        "reached": found[-1]["step"],
        "minutes": seconds / 60 * found[-1]["step"] / records[-1]["step"],
    }


def _write_emoji(
    docs: Path, out: Path, rows: list[Row], missing: list[str], floor: float, steps: int | None
) -> None:
    lines = [
        "# GANs on emoji",
        "",
        "Made by `python scripts/results.py --emoji FILE`, where FILE holds 3,781 drawings of 64 x "
        "64 pixels in colour. The score is the sliced Wasserstein distance (SWD x 1,000) between "
        "1,000 of them and as many samples of the generator's moving average; between two halves "
        f"of the drawings it is {floor:.1f}. A run has one core of the machine below, which other "
        "programs used at the same time: minutes are those of the processor. They are few: these "
        "figures say what a CPU reaches while you wait, not what the systems can reach.",
        "",
        "Expected: an R3GAN learns more from each image than a DCGAN, but an image costs it seven "
        "to ten times the time, also in bf16, so that it is behind for minutes; augmentation helps "
        "once the discriminator overfits, after many passes over the images, of which there are "
        "few here. Compare systems at equal minutes, and R3GANs at equal rounds.",
        "",
    ]
    if steps:
        lines += [f"**A trial with {steps} steps: these figures say nothing of the systems.**", ""]
    if missing:
        lines += [f"Not trained yet: {'; '.join(missing)}.", ""]
    lines += _table(
        ["system", "seed", "rounds", "images seen", "minutes", "untrained", "last", "best",
         "excess over halves falls"],
        [
            [name, f"{f['seed']:.0f}", f"{f['reached']:.0f} of {f['steps']:.0f}",
             f"{f['reached'] * f['batch']:,.0f}", f"{f['minutes']:.1f}",
             *(f"{f[k]:.1f}" for k in ("start", "last", "best")),
             f"{(f['start'] - floor) / (f['best'] - floor):.1f} x"]
            for name, _, f in rows
        ],
    )  # fmt: skip
    figure, (axis,) = plot.panels(8.6, 4.2)
    colours = {name: f"C{k}" for k, name in enumerate(EMOJI)}
    for name, _, f in rows:
        log = read_records(out / _slug(f"{name} {f['seed']}") / "metrics.jsonl")
        points = [
            (r["step"] * f["minutes"] / f["reached"], r["swd"])
            for r in log
            if "swd" in r and r["step"] <= f["reached"]
        ]
        first = f["seed"] == min(other["seed"] for system, _, other in rows if system == name)
        axis.plot(*zip(*points, strict=True), label=name if first else None, lw=1.4, marker=".",
                  color=colours[name], ls="-" if first else ":")  # fmt: skip
    axis.axhline(floor, color=plot.INK, lw=1, ls="--", label="two halves of the drawings")
    plot.logarithmic(axis)
    axis.set_xlabel("minutes of the processor")
    axis.set_ylabel("SWD x 1000")
    axis.legend(frameon=False, ncols=2)
    plot.write(figure, docs / "pictures" / "emoji-curves.png")
    lines += ["![SWD over the minutes](pictures/emoji-curves.png)", ""]
    lines += ["## Again", "", "```"]
    for name, words, f in rows:
        options = " ".join(f"--set {word}" for word in [*words.split(), "size=64", "channels=3"])
        folder = _slug(f"{name} {f['seed']}")
        lines.append(f"ganfast train FILE --threads 1 --out runs/{folder} {options}")
    lines += ["```", "", "## Machine", ""]
    lines += _table(["", ""], [list(row) for row in environment.facts()])
    # A sheet shows each pixel as 2 x 2.
    lines += _pictures(docs, out, [f"{name} {f['seed']}" for name, _, f in rows], shrink=2)
    with atomic_write(docs / "results-emoji.md") as file:
        file.write(("\n".join(lines).rstrip() + "\n").encode())


def _parts(words: str, steps: int | None) -> list[str]:
    return words.split() + ([f"steps={steps}"] if steps else [])


def _figures(folder: Path, parts: list[str]) -> Figures | None:
    """Those of a system that has been trained so."""
    path = folder / "figures.json"
    saved = json.loads(path.read_text()) if path.exists() else None
    return saved["figures"] if saved and saved["words"] == parts else None


def _train(run: Callable[..., Figures], folder: Path, parts: list[str]) -> Figures:
    figures = run(parts, folder)
    with atomic_write(folder / "figures.json") as file:
        file.write(json.dumps({"words": parts, "figures": figures}).encode())
    return figures


def _gan(words: Sequence[str], folder: Path) -> Figures:
    settings = config.read(gan.Config, None, words)
    resume = (folder / "checkpoint.pt").exists()
    result = recipe.train(settings, folder, resume=resume)
    _refuse_stopped(result.finished)
    return {
        "start": result.scores[0][1],
        "last": result.scores[-1][1],
        "best": min(fd for _, fd in result.scores),
        "floor": result.real_against_real,
        "threads": torch.get_num_threads(),
    }


def _cycle(words: Sequence[str], folder: Path) -> Figures:
    settings = config.read(cyclegan.CycleConfig, None, words)
    resume = (folder / "checkpoint.pt").exists()
    result = cyclegan.cycle(settings, folder, resume=resume)
    _refuse_stopped(result.finished)
    return {
        "start": result.errors[0][1],
        "last": result.errors[-1][1],
        "translation": result.translation_error,
        "untranslated": result.untranslated,
    }


def _autoencoder(words: Sequence[str], folder: Path) -> Figures:
    settings = config.read(autoencoder.AutoencoderConfig, None, words)
    return dataclasses.asdict(autoencoder.autoencode(settings, folder, overwrite=True))


def _refuse_stopped(finished: bool) -> None:
    if not finished:
        raise SystemExit("stopped; the same command goes on")


def _write(
    docs: Path, out: Path, tables: list[list[Row]], missing: list[str], steps: int | None
) -> None:
    gans, cycles, coders = tables
    lines = ["# What the systems of the tutorials reach", ""]
    lines += [
        "Made by `python scripts/results.py`. Distances are FD (digits), between the 5,000 "
        "embedded digits and as many samples of the generator's moving average, on the features "
        "of the digit classifier that comes with ganfast; they are not comparable with FID. One "
        "seed each; a machine, a number of threads or a memory format that rounds otherwise ends "
        "elsewhere.",
        "",
    ]
    if steps:
        lines += [f"**A trial with {steps} steps: these figures say nothing of the systems.**", ""]
    if missing:
        lines += [f"Not trained yet: {'; '.join(missing)}.", ""]
    if gans:
        floor = gans[0][2]["floor"]
        lines += [f"Real against real (two halves) is {floor:.2f}.", ""]
        lines += _table(
            ["system", "untrained", "last", "best", "threads"],
            [
                [name, *(f"{f[k]:.2f}" for k in ("start", "last", "best")), f"{f['threads']:.0f}"]
                for name, _, f in gans
            ],
        )
    if cycles:
        lines += [
            "## CycleGAN",
            "",
            "Mean absolute errors, images being in [-1, 1]. Changes of geometry, as turns are, are "
            "a known limit of CycleGAN (Zhu et al. 2017, section 6).",
            "",
        ]
        lines += _table(
            ["system", "cycle error, untrained", "cycle error", "translation error",
             "error of A untranslated"],
            [
                [name, *(f"{f[k]:.3f}" for k in ("start", "last", "translation", "untranslated"))]
                for name, _, f in cycles
            ],
        )  # fmt: skip
    if coders:
        lines += ["## Autoencoders", ""]
        lines += _table(
            ["system", "squared error, held out", "error of the mean image",
             "FD, reconstructions", "FD, samples"],
            [
                [name, f"{f['error']:.4f}", f"{f['error_of_mean']:.4f}",
                 f"{f['fd_reconstructions']:.2f}", f"{f['fd_samples']:.2f}"]
                for name, _, f in coders
            ],
        )  # fmt: skip
    lines += ["## Again", "", "```"]
    for name, words, _ in [*gans, *cycles, *coders]:
        options = " ".join(f"--set {word}" for word in words.split())
        lines.append(f"ganfast train --out runs/{_slug(name)} {options}")
    lines += ["```", "", "## Machine", ""]
    lines += _table(["", ""], [list(row) for row in environment.facts()])
    lines += _pictures(docs, out, [name for name, _, _ in gans])
    with atomic_write(docs / "results.md") as file:
        file.write(("\n".join(lines).rstrip() + "\n").encode())


def _pictures(docs: Path, out: Path, names: Sequence[str], shrink: int = 1) -> list[str]:
    """The last sheet of each GAN, copied beside the page."""
    from PIL import Image

    lines = ["", "## Samples", ""]
    for name in names:
        sheet = sorted((out / _slug(name) / "samples").glob("step_*.png"))[-1]
        target = docs / "pictures" / f"{_slug(name)}.png"
        with Image.open(sheet) as picture:
            images.write_png(picture.reduce(shrink), target)
        lines += [f"{name}:", "", f"![{name}](pictures/{target.name})", ""]
    return lines


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def _slug(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "-".join(words)


if __name__ == "__main__":
    main()

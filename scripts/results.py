"""Train every system of the tutorials on the embedded digits, and write docs/results.md.

    python scripts/results.py                    # about two hours; stopped, it goes on
    python scripts/results.py --steps 20 --out /tmp/results --docs /tmp/docs    # to try it
    python scripts/results.py --emoji noto-64.zip    # GANs on emoji: docs/results-emoji.md

Each system is one ``ganfast train``; its line says how to do it again. What it reached is kept
beside the page, in a JSON file, so that the page can be made by parts, on several machines.
Remove a system there to train it again.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ganfast._files import atomic_write
from ganfast.reporting import environment, images, plot
from ganfast.train import config
from ganfast.train.journal import read_records
from ganfast.workflows import autoencoder, cyclegan, gan
from ganfast.workflows import train as recipe

Figures = dict[str, Any]  # what a system reached
Run = Callable[[list[str], Path], Figures]  # trains it with these settings in this folder

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
    " ema_kimg=0.5 batch_size=16 precision=bf16 log_every=25 sample_every=200 checkpoint_every=100"
)
_SHORT = f"{_R3GAN} burn_in_kimg=16 steps=1400 score_every=100"
_COLOUR = ("size=64", "channels=3")
#: On emoji at 64 pixels, for 5 to 25 minutes of one core that has products of bf16.
EMOJI = {
    "DCGAN, emoji": "model=dcgan lr_g=1e-3 lr_d=5e-4 reuse_fakes=true precision=bf16 steps=3000"
    " score_every=200 sample_every=400 checkpoint_every=200",
    "SNGAN, emoji": "model=sngan loss=hinge spectral_norm=true lr_g=5e-4 lr_d=1e-3"
    " betas_g=[0,0.9] betas_d=[0,0.9] precision=bf16 steps=300 score_every=50"
    " sample_every=100 checkpoint_every=50 log_every=10",
    "R3GAN, emoji": _SHORT,
    "R3GAN, ADA, emoji": f"{_SHORT} augment=ada augment_p=0.3",
    "R3GAN, DiffAugment, emoji": f"{_SHORT} augment=color,translation,cutout",
    "R3GAN, conditional, emoji": _SHORT.replace("r3gan", "cr3gan"),
    "R3GAN, 40 minutes, emoji": f"{_R3GAN} burn_in_kimg=30 steps=2600 score_every=200",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--steps", type=int, help="of each system, to try the script")
    parser.add_argument("--only", default="", help="train systems with this in their name")
    parser.add_argument("--so-far", action="store_true", help="train nothing, write the page")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--emoji", help="train the GANs of these 64-pixel images instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of GANs on emoji")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    systems: dict[str, tuple[Run, list[str]]] = {}
    if chosen.emoji:
        path, write = chosen.docs / "results-emoji.md", _emoji_page
        for seed, (name, words) in itertools.product(chosen.seeds, EMOJI.items()):
            run = partial(_emoji, chosen.emoji)
            systems[f"{name} {seed}"] = run, _settings(f"{words} seed={seed}", chosen.steps)
    else:
        path, write = chosen.docs / "results.md", _digits_page
        for run, words_of in ((_gan, GANS), (_cycle, CYCLES), (_autoencoder, AUTOENCODERS)):
            for name, words in words_of.items():
                systems[name] = run, _settings(words, chosen.steps)
    kept = path.with_suffix(".json")
    reached = json.loads(kept.read_text()) if kept.exists() else {}
    for name, (run, settings) in systems.items():
        known = reached.get(name, {}).get("settings") == settings
        if known or chosen.so_far or chosen.only.lower() not in name.lower():
            continue
        folder = chosen.out / _slug(name)
        figures = run(settings, folder)
        _keep_picture(folder, chosen.docs)
        reached[name] = {"settings": settings, "machine": _machine(), **figures}
        _write(kept, [json.dumps(reached, indent=1)])
    rows = {
        name: reached[name]
        for name, (_, settings) in systems.items()
        if reached.get(name, {}).get("settings") == settings
    }
    notes = []
    if chosen.steps:
        notes += [f"**A trial with {chosen.steps} steps: these figures say nothing.**", ""]
    if missing := [name for name in systems if name not in rows]:
        notes += [f"Not trained yet: {'; '.join(missing)}.", ""]
    _write(
        path, [*write(rows, notes, chosen.docs), *_machines(rows), *_pictures(rows, chosen.docs)]
    )


# What trains a system of each kind, and says what it reached.


def _gan(settings: list[str], folder: Path) -> Figures:
    resume = (folder / "checkpoint.pt").exists()
    result = recipe.train(config.read(gan.Config, None, settings), folder, resume=resume)
    _refuse_stopped(result.finished)
    return {
        "untrained": result.scores[0][1],
        "last": result.scores[-1][1],
        "best": min(score for _, score in result.scores),
        "halves": result.real_against_real,
    }


def _emoji(data: str, settings: list[str], folder: Path) -> Figures:
    """Train a GAN to the end, and add up the seconds of the processor over all attempts."""
    made = config.read(gan.Config, None, settings)
    path, start = folder / "seconds.json", time.process_time()
    before = json.loads(path.read_text()) if path.exists() else 0.0
    try:
        figures = _gan([*settings, f"data={data}", *_COLOUR], folder)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, [json.dumps(before + time.process_time() - start)])
    minutes = json.loads(path.read_text()) / 60
    scores = [r for r in read_records(folder / "metrics.jsonl") if "swd" in r]
    curve = [[round(r["step"] / made.steps * minutes, 2), round(r["swd"], 2)] for r in scores]
    images = made.steps * made.batch_size
    return {**figures, "rounds": made.steps, "images": images, "minutes": minutes, "curve": curve}


def _cycle(settings: list[str], folder: Path) -> Figures:
    resume = (folder / "checkpoint.pt").exists()
    made = config.read(cyclegan.CycleConfig, None, settings)
    result = cyclegan.cycle(made, folder, resume=resume)
    _refuse_stopped(result.finished)
    return {
        "untrained": result.errors[0][1],
        "last": result.errors[-1][1],
        "translation": result.translation_error,
        "untranslated": result.untranslated,
    }


def _autoencoder(settings: list[str], folder: Path) -> Figures:
    made = config.read(autoencoder.AutoencoderConfig, None, settings)
    return dataclasses.asdict(autoencoder.autoencode(made, folder, overwrite=True))


def _refuse_stopped(finished: bool) -> None:
    if not finished:
        raise SystemExit("stopped; the same command goes on")


# The pages.


def _digits_page(rows: Mapping[str, Figures], notes: list[str], _: Path) -> list[str]:
    gans, cycles, coders = (
        {name: figures for name, figures in rows.items() if name in of_kind}
        for of_kind in (GANS, CYCLES, AUTOENCODERS)
    )
    lines = ["# What the systems of the tutorials reach", ""]
    lines += [
        "Made by `python scripts/results.py`. Distances are FD (digits), between the 5,000 "
        "embedded digits and as many samples of the generator's moving average, on the features "
        "of the digit classifier that comes with ganfast; they are not comparable with FID. One "
        "seed each; a machine, a number of threads or a memory format that rounds otherwise ends "
        "elsewhere.",
        "",
        *notes,
    ]
    if gans:
        floor = next(iter(gans.values()))["halves"]
        lines += [f"Real against real (two halves) is {floor:.2f}.", ""]
        names = ("untrained", "last", "best")
        lines += _table(["system", *names], gans, *(f"{{{name}:.2f}}" for name in names))
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
            cycles, "{untrained:.3f}", "{last:.3f}", "{translation:.3f}", "{untranslated:.3f}",
        )  # fmt: skip
    if coders:
        lines += ["## Autoencoders", ""]
        lines += _table(
            ["system", "squared error, held out", "error of the mean image",
             "FD, reconstructions", "FD, samples"],
            coders,
            "{error:.4f}", "{error_of_mean:.4f}", "{fd_reconstructions:.2f}", "{fd_samples:.2f}",
        )  # fmt: skip
    return lines + _again(rows, "ganfast train")


def _emoji_page(rows: Mapping[str, Figures], notes: list[str], docs: Path) -> list[str]:
    lines = [
        "# GANs on emoji",
        "",
        "Made by `python scripts/results.py --emoji FILE`, where FILE holds 3,781 drawings of 64 x "
        "64 pixels in colour. The score is the sliced Wasserstein distance (SWD x 1,000) between "
        "1,000 of them and as many samples of the generator's moving average. A run has one core, "
        "which other programs used at the same time: minutes are those of the processor. They are "
        "few: these figures say what a CPU reaches while you wait, not what the systems can reach.",
        "",
        "Expected: an R3GAN learns more from each image than a DCGAN, but an image costs it some "
        "ten times the time, so that it is behind for minutes; augmentation helps once the "
        "discriminator overfits, after many passes over the images, of which there are few here. "
        "Compare systems at equal minutes, and R3GANs at equal rounds.",
        "",
        *notes,
    ]
    if not rows:
        return lines
    for figures in rows.values():
        ends = (figures[key] - figures["halves"] for key in ("untrained", "best"))
        figures["falls"] = next(ends) / next(ends)
    floor = next(iter(rows.values()))["halves"]
    lines += [f"Between two halves of the drawings it is {floor:.1f}.", ""]
    reached: dict[str, list[float]] = {}
    for name, figures in rows.items():
        reached.setdefault(name.rpartition(" ")[0], []).append(figures["last"])
    order = sorted(reached, key=lambda system: min(reached[system]))
    came = (f"{system} {' and '.join(f'{x:.1f}' for x in reached[system])}" for system in order)
    lines += [f"What came, at the end of each run: {'; '.join(came)}.", ""]
    lines += _table(
        ["system, seed", "rounds", "images seen", "minutes", "untrained", "last", "best",
         "excess over halves falls"],
        rows,
        "{rounds}", "{images:,}", "{minutes:.1f}", "{untrained:.1f}", "{last:.1f}", "{best:.1f}",
        "{falls:.1f} x",
    )  # fmt: skip
    figure, (axis,) = plot.panels(8.6, 4.2)
    systems = list(reached)
    for name, figures in rows.items():
        if not figures["curve"]:  # of a run whose log is not there any more
            continue
        system = name.rpartition(" ")[0]
        first = name == next(n for n in rows if n.startswith(f"{system} "))
        style = {"color": f"C{systems.index(system)}", "ls": "-" if first else ":"}
        label = system if first else None
        axis.plot(*zip(*figures["curve"], strict=True), label=label, lw=1.4, marker=".", **style)
    axis.axhline(floor, color=plot.INK, lw=1, ls="--", label="two halves of the drawings")
    plot.logarithmic(axis)
    axis.set_xlabel("minutes of the processor")
    axis.set_ylabel("SWD x 1000")
    axis.legend(frameon=False, ncols=2)
    plot.write(figure, docs / "pictures" / "emoji-curves.png")
    lines += ["![SWD over the minutes](pictures/emoji-curves.png)", ""]
    return lines + _again(rows, "ganfast train FILE --threads 1", *_COLOUR)


def _again(rows: Mapping[str, Figures], command: str, *common: str) -> list[str]:
    lines = ["## Again", "", "```"]
    for name, figures in rows.items():
        options = " ".join(f"--set {setting}" for setting in [*figures["settings"], *common])
        lines.append(f"{command} --out runs/{_slug(name)} {options}")
    return [*lines, "```", ""]


def _machines(rows: Mapping[str, Figures]) -> list[str]:
    """Each machine, with the systems that it trained."""
    lines = ["## Machines", ""]
    for machine in dict.fromkeys(figures["machine"] for figures in rows.values()):
        names = [name for name, figures in rows.items() if figures["machine"] == machine]
        lines.append(f"- {machine}: {'; '.join(names)}")
    return [*lines, ""]


def _machine() -> str:
    facts = dict(environment.facts())
    gpu = "" if facts["GPU"] == "none" else f", {facts['GPU']}"
    return (
        f"{facts['CPU']}{gpu}, torch {facts['torch']}, ganfast {facts['ganfast']}, "
        f"{datetime.date.today():%Y-%m-%d}"
    )


def _keep_picture(folder: Path, docs: Path) -> None:
    """Copy the last sheet of a run beside the page; a sheet shows each pixel as 2 x 2."""
    from PIL import Image

    for sheet in sorted((folder / "samples").glob("step_*.png"))[-1:]:
        with Image.open(sheet) as picture:
            shrink = 2 if picture.width > 1000 else 1
            images.write_png(picture.reduce(shrink), docs / "pictures" / f"{folder.name}.png")


def _pictures(rows: Mapping[str, Figures], docs: Path) -> list[str]:
    lines = ["## Samples", ""]
    for name in rows:
        path = f"pictures/{_slug(name)}.png"
        if (docs / path).exists():
            lines += [f"{name}:", "", f"![{name}]({path})", ""]
    return lines


def _table(header: list[str], rows: Mapping[str, Figures], *cells: str) -> list[str]:
    lines = [header, ["---"] * len(header)]
    lines += [[name, *(cell.format(**figures) for cell in cells)] for name, figures in rows.items()]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def _settings(words: str, steps: int | None) -> list[str]:
    return words.split() + ([f"steps={steps}"] if steps else [])


def _slug(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return "-".join(words)


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(("\n".join(lines).rstrip() + "\n").encode())


if __name__ == "__main__":
    main()

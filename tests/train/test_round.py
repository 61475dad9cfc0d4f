"""The files that a reader of one training round has to know."""

import sys
from pathlib import Path

import ganfast
from ganfast.train.config import from_mapping
from ganfast.workflows.gan import Config, fitted
from ganfast.workflows.train import make_trainer

PACKAGE = Path(ganfast.__file__).parent
MOST = 9


def test_a_round_of_a_plain_gan_stays_within_few_files(tmp_path, monkeypatch):
    """From the start of one round to the start of the next, in the thread that trains."""
    settings = {"model": "dcgan", "steps": 4, "batch_size": 4, "log_every": 4, "score": "none"}
    config = fitted(from_mapping(Config, settings | {"sample_every": 0, "checkpoint_every": 0}))
    trainer = make_trainer(config, tmp_path, "cpu")
    files: set[str] = set()

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            files.add(str(path.relative_to(PACKAGE)))

    train_round = trainer._round

    def traced() -> None:
        sys.setprofile(note if trainer.step == 2 else None)
        train_round()

    monkeypatch.setattr(trainer, "_round", traced)
    try:
        assert trainer.run()
    finally:
        sys.setprofile(None)
    assert {"train/loop.py", "train/trainer.py", "train/steps.py"} <= files
    assert len(files) <= MOST, sorted(files)

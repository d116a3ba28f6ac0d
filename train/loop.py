"""The training loop. Read `Trainer.run`, then `Trainer.train_epoch`: that is all there is to it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from train.checkpoint import save_checkpoint
from train.data import Dataset, checksums, split
from train.errors import CheckpointError, SettingsError
from train.evaluate import Calibration, Score, as_input, calibrate, predict, score
from train.model import NETWORKS, Doubt, Recognizer
from train.precision import autocast, precision
from train.provenance import provenance
from train.settings import Settings


class Epoch(NamedTuple):
    """What one epoch came to: means over its batches, and the validation of the averaged weights."""

    number: int
    loss: float
    accuracy: float
    validation: Score
    seconds: float


class Trainer:
    """One run: the network and its averaged copy, the optimizer and its schedule, the data, the source of randomness.

    Args:
        settings: what to do.
        dataset: what to do it with; of `dataset.test` nothing is read here.
        reframed: a second copy of the training images (n, h, w) uint8, or None.
        strangers: pictures (n, h, w) uint8 that are none of the classes, or None.
        teachers: from images (batch, 1, h, w) float32 in 0..1 to probabilities (batch, classes), or None.
        folder: where checkpoints and metrics go.
        device: where to compute.
    """

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        reframed: Tensor | None,
        strangers: Tensor | None = None,
        teachers: nn.Module | None = None,
        *,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.class_names = dataset.class_names
        self.generator = torch.Generator().manual_seed(settings.seed)
        self._place_data(dataset, reframed)
        self.strangers = None if strangers is None else strangers.to(device)
        self.teachers = None if teachers is None else teachers.to(device).to(memory_format=torch.channels_last)
        model = build_model(settings, len(dataset.class_names), dataset.side)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.ema = deepcopy(self.model).requires_grad_(False)
        self.optimizer = make_optimizer(self.model, settings)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, settings.lr, total_steps=self.steps_per_epoch * settings.epochs, pct_start=0.2
        )
        self.epoch, self.minutes = 0, 0.0
        self.best: dict[str, float] = {}
        self.provenance = {
            **provenance(device),
            "precision": precision(self.model.network, device),
            "data_sha256": checksums(dataset),
        }
        torch.backends.cudnn.deterministic = True  # else a resumed run on a GPU would be only nearly the same

    def _place_data(self, dataset: Dataset, reframed: Tensor | None) -> None:
        """The whole set is small: it stays on the device, as one tensor of uint8."""
        train, validation, copies = dataset.train, dataset.validation, reframed
        if validation is None:
            parts = split(len(train))
            copies = None if reframed is None else reframed[parts.train]
            train, validation = train.take(parts.train), train.take(parts.validation)
        self.validation = validation
        copies = train.images if copies is None else copies
        self.sources = torch.stack((train.images, copies)).to(self.device)
        self.labels = train.labels.to(self.device)
        self.batch_size = min(self.settings.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.batch_size

    def run(self) -> Iterator[Epoch]:
        """Train what is left, one epoch at a time; after each one a checkpoint is on disk."""
        while self.epoch < self.settings.epochs:
            started = time.monotonic()
            loss, accuracy = self.train_epoch()
            self.epoch += 1
            validation, calibration = self.validate()
            seconds = time.monotonic() - started
            self.minutes += seconds / 60
            epoch = Epoch(self.epoch, loss, accuracy, validation, seconds)
            self._record(epoch, calibration)
            yield epoch

    def validate(self) -> tuple[Score, Calibration]:
        """The averaged weights on the held-out images. The loss is that of the calibrated probabilities: label smoothing
        makes raw ones ever more timid, which says nothing about the network."""
        logits = predict(self.ema, self.validation.images, device=self.device)
        calibration = calibrate(logits, self.validation.labels)
        return score(logits / calibration.temperature, self.validation.labels), calibration

    def train_epoch(self) -> tuple[float, float]:
        """Go through the training images once. Returns the mean loss and accuracy of the batches as they went by."""
        self.model.train()
        total = torch.zeros(2, device=self.device)
        order = torch.randperm(len(self.labels), generator=self.generator)
        label = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        with tqdm(total=self.steps_per_epoch, desc=label, unit="batch", leave=False, disable=None) as bar:
            for step in range(self.steps_per_epoch):
                total += self._train_batch(order[step * self.batch_size : (step + 1) * self.batch_size])
                bar.update()
                if step % 20 == 19:
                    loss, accuracy = (total / (step + 1)).tolist()
                    bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{accuracy:.2%}")
        loss, accuracy = (total / self.steps_per_epoch).tolist()
        if not math.isfinite(loss):
            raise SettingsError(f"the loss is {loss} in epoch {self.epoch + 1}: try a lower --lr than {self.settings.lr:g}")
        return loss, accuracy

    def _train_batch(self, index: Tensor) -> Tensor:
        """One step of the optimizer. Returns loss and accuracy as a tensor: nobody waits for the device."""
        images, labels = self._draw(index)
        with autocast(self.model.network, self.device):
            logits, strange = self.model(images).tensor_split([len(labels)])
            loss = self._loss(logits, labels, images)
            if len(strange):  # no class is likelier than another
                loss = loss - self.settings.strangers_weight * strange.log_softmax(1).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        self._average()
        return torch.stack((loss.detach(), (logits.argmax(1) == labels).float().mean()))

    def _loss(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """How far the answers are from the labels, and from what the teachers answer to the same images.

        Heard `where-right`, they are silent where they are wrong: of images that they have never seen, such as those that
        `--extra` added, they may know nothing. But who hesitates between two classes, and rightly so, then only ever teaches
        the one that the label names, and the student learns to doubt its best answers. Heard `always`, they teach
        their doubt as it is.
        """
        losses = cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing, reduction="none")
        if self.teachers is not None:
            answers = self.teachers(images[: len(labels)])
            taught = cross_entropy(logits, answers, reduction="none")
            heard = torch.ones_like(losses) if self.settings.teachers_heard == "always" else answers.argmax(1) == labels
            losses = torch.lerp(losses, taught, self.settings.teachers_weight * heard)
        return losses.mean()

    def _draw(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """A batch, each image from the original or from its reframed copy, and moved by a little; strangers at its end."""
        source = (torch.rand(len(index), generator=self.generator) < self.settings.reframed_share).long()
        chosen = self.sources[source.to(self.device), index.to(self.device)]
        if self.strangers is not None:
            count = round(len(index) * self.settings.strangers_share)
            drawn = torch.randint(len(self.strangers), (count,), generator=self.generator)
            chosen = torch.cat((chosen, self.strangers[drawn.to(self.device)]))
        images = self.settings.augmentation(as_input(chosen), self.generator)
        return images.contiguous(memory_format=torch.channels_last), self.labels[index.to(self.device)]

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged copy towards the weights, batch norm's statistics included; fast in the first steps."""
        done = self.scheduler.last_epoch
        decay = min(self.settings.ema_decay, (1 + done) / (10 + done))
        averages, values = _float_tensors(self.ema), _float_tensors(self.model)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def _record(self, epoch: Epoch, calibration: Calibration) -> None:
        """Metrics, then best.pt, then last.pt: whatever an interruption leaves, --resume continues from last.pt.

        The best epoch has the least loss: among a few dozen errors, one more or less is chance.
        """
        improved = not self.best or epoch.validation.loss < self.best["loss"]
        if improved:
            self.best = {"errors": epoch.validation.errors, "loss": epoch.validation.loss, "epoch": epoch.number}
        state = self.state(calibration)
        write_metrics(self.folder / "metrics.jsonl", epoch)
        if improved:
            save_checkpoint(self.folder / "best.pt", state)
        save_checkpoint(self.folder / "last.pt", state)

    def state(self, calibration: Calibration) -> dict[str, Any]:
        """All that `restore` needs to go on exactly, and all that export needs."""
        return {
            "settings": self.settings.to_dict(),
            "class_names": list(self.class_names),
            "epoch": self.epoch,
            "minutes": self.minutes,
            "weights": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "generator": self.generator.get_state(),
            "best": self.best,
            "calibration": asdict(calibration),
            "provenance": self.provenance,
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same settings.

        Raises:
            CheckpointError: its weights do not fit this network, or there is nothing but weights in it.
        """
        if not checkpoint["optimizer"]:
            raise CheckpointError("this checkpoint was made of a published model: it can teach and be exported, not go on")
        load_weights(self.model, checkpoint["weights"])
        load_weights(self.ema, checkpoint["ema"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.generator.set_state(checkpoint["generator"])
        self.epoch, self.minutes, self.best = checkpoint["epoch"], checkpoint["minutes"], checkpoint["best"]


def build_model(settings: Settings, classes: int, side: int | None = None) -> Recognizer:
    """The network for images of `side` pixels with its first weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Recognizer(NETWORKS[settings.network], classes, side)


def load_network(checkpoint: dict[str, Any], side: int) -> Recognizer:
    """The averaged network of a checkpoint, for images of `side` pixels, with what doubts its answers if that was learned.

    Raises:
        CheckpointError: its weights do not fit its network.
    """
    model = build_model(Settings.from_dict(checkpoint["settings"]), len(checkpoint["class_names"]), side)
    load_weights(model, checkpoint["ema"])
    if doubt := checkpoint.get("doubt"):
        model.doubt = Doubt(model.network)
        load_weights(model.doubt, doubt["weights"])
    return model.eval()


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights, or say in one line that they belong to another network."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1:2] or [str(error)]
        raise CheckpointError(f"the checkpoint's weights do not fit this network: {detail[0].strip()}") from error


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW; biases and batch norm's numbers are not decayed, since small values are no virtue there."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def write_metrics(path: Path, epoch: Epoch) -> None:
    """Add one line of JSON; lines of this epoch and later ones are from before a resume and go."""
    before = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in before if json.loads(line)["epoch"] < epoch.number]
    row = {
        "epoch": epoch.number,
        "loss": epoch.loss,
        "accuracy": epoch.accuracy,
        "validation_loss": epoch.validation.loss,
        "validation_accuracy": epoch.validation.accuracy,
        "seconds": round(epoch.seconds, 2),
    }
    partial = path.with_name(f"{path.name}.part")
    partial.write_text("\n".join([*kept, json.dumps(row)]) + "\n")
    partial.replace(path)


def _float_tensors(model: nn.Module) -> list[Tensor]:
    return [value for value in model.state_dict().values() if value.is_floating_point()]

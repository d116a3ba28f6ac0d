"""Everything that decides a run's result, in one value. It travels in the checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from train.augment import AUGMENTATIONS, Augmentation
from train.errors import CheckpointError, SettingsError
from train.model import DEFAULT_NETWORK, NETWORKS

HEARD = ("where-right", "always")  # at which images teachers are listened to; what that changes: Trainer._loss


@dataclass(frozen=True)
class Settings:
    """The settings of one run; the defaults are the recipe of the models that ship."""

    dataset: str = "mnist"
    extra: tuple[str, ...] = ()  # datasets whose images are added to the training ones
    network: str = DEFAULT_NETWORK
    epochs: int = 70
    seed: int = 0
    batch_size: int = 256
    lr: float = 0.01  # the peak of the one-cycle schedule
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    clip_norm: float = 2.0
    ema_decay: float = 0.998
    strangers_share: float = 0.0  # so many pictures that are no character, for each image of a batch; see train/strangers.py
    strangers_weight: float = 0.5  # of their loss, beside that of the characters
    strange_dataset: str = ""  # its characters are strangers, too, such as letters among digits
    reframed_share: float = 0.2  # of the images of an epoch, how many are seen as the server frames them
    teachers: tuple[str, ...] = ()  # checkpoints whose common answer is learned beside the labels; see train/teachers.py
    teachers_weight: float = 0.5  # of their answer in the loss; the labels have the rest
    teachers_heard: str = "where-right"  # one of HEARD
    limit: int | None = None  # use only the first so many training images, and all extra ones
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise SettingsError(f"network {self.network!r} is unknown; there are: {', '.join(NETWORKS)}")
        for name in ("epochs", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.teachers_weight <= 1:
            raise SettingsError(f"teachers_weight must be from 0 to 1, not {self.teachers_weight:g}")
        if self.teachers_heard not in HEARD:
            raise SettingsError(f"teachers_heard must be one of {', '.join(HEARD)}, not {self.teachers_heard!r}")
        if self.limit is not None and self.limit < 2:
            raise SettingsError(f"limit must be at least 2 (one image is held out), not {self.limit}")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, as they are stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Settings:
        """What `to_dict` stored.

        Raises:
            CheckpointError: it holds settings that this version does not know.
        """
        try:
            return cls(**{**stored, "augmentation": Augmentation(**stored["augmentation"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"settings of another version: {error}") from error

    def command(self) -> str:
        """The command that makes this run: what differs from the defaults, and the seed."""
        default = Settings()
        flags: list[tuple[str, Any]] = []
        for name in (f.name for f in fields(self) if f.name not in ("seed", "augmentation")):
            value = getattr(self, name)
            if isinstance(value, tuple):  # its flag is given once for each
                flags += [(name.removesuffix("s"), one) for one in value]
            elif value != getattr(default, name):
                flags.append((name, value))
        if self.augmentation != default.augmentation:
            flags += [("augmentation", name) for name, value in AUGMENTATIONS.items() if value == self.augmentation]
        words = [f"--{name.replace('_', '-')} {value}" for name, value in [*flags, ("seed", self.seed)]]
        return " ".join(["python -m train", *words])

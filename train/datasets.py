"""Datasets by name: what `--dataset` and `--extra` mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from server.preprocess import SIZE
from train.data import Dataset, Images, Origin, split
from train.emnist import load_letters
from train.errors import DataError
from train.folder import load_folder
from train.habits import load_habits
from train.hanzi import load_hanzi
from train.mnist import load_mnist

Loader = Callable[[Path | None], Dataset]
LOADERS: Mapping[str, Loader] = {
    "mnist": load_mnist,
    "emnist-letters": load_letters,
    "hanzi": load_hanzi,
    "habits": load_habits,
}
FOLDER = "folder:"

_JOINT = re.compile(rf"\+(?={'|'.join(re.escape(start) for start in (*LOADERS, FOLDER))})")  # a path may hold a + itself


def load_dataset(name: str, folder: Path | None = None, extra: Sequence[str] = (), limit: int | None = None) -> Dataset:
    """Read a dataset.

    Args:
        name: one of LOADERS, or `folder:PATH`, or several of them joined by `+`: classes of one name become one class.
        folder: where data lies; else $DIGITSERVE_DATA, else the cache folder.
        extra: names of datasets whose images are all added to the training images, and to nothing else.
        limit: take only the first so many of the training images; all of the extra ones stay.

    Raises:
        DataError: there is no such dataset, or it can't be had, or a file of it is damaged, or parts don't go together.
    """
    members = _load_members(_JOINT.split(name), folder, side=None)
    dataset = members[0] if len(members) == 1 else mix(members)
    if limit is not None:
        dataset = dataset._replace(train=dataset.train.take(torch.arange(len(dataset.train))[:limit]))
    for added in (part for one in extra for part in _JOINT.split(one)):
        dataset = add_extra(dataset, *_load_members([added], folder, side=dataset.side))
    _check(name, dataset)
    return dataset


def mix(datasets: Sequence[Dataset]) -> Dataset:
    """Several datasets as one. Classes are united by name; a picture that is held out in one is trained on in none.

    If one has a validation part of its own, the others hold a share of their images out.

    Raises:
        DataError: the images of one are larger than another's.
    """
    for other in datasets[1:]:
        _check_sides(datasets[0], other)
    if any(dataset.validation is not None for dataset in datasets):
        datasets = [with_validation(dataset) for dataset in datasets]
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.class_names))
    test = _concatenate([_relabel(one.test, one.class_names, names) for one in datasets])
    held = [_relabel(one.validation, one.class_names, names) for one in datasets if one.validation is not None]
    validation = _without(_concatenate(held), test) if held else None
    train = _concatenate([_relabel(one.train, one.class_names, names) for one in datasets])
    train = _without(train, test if validation is None else _concatenate([test, validation]))
    return Dataset(_shuffle(train), test, names, validation, _join_origins([dataset.origin for dataset in datasets]))


def add_extra(dataset: Dataset, extra: Dataset) -> Dataset:
    """All images of `extra` among the training images of `dataset`, which are what is left after holding out validation.

    Raises:
        DataError: it has a class that the dataset lacks, or images of another size.
    """
    _check_sides(dataset, extra)
    strange = [name for name in extra.class_names if name not in dataset.class_names]
    if strange:
        listed = ", ".join(repr(name) for name in strange)
        raise DataError(f"{extra.origin.name} has classes that {dataset.origin.name} lacks: {listed}")
    dataset = with_validation(dataset)
    parts = [part for part in (extra.train, extra.validation, extra.test) if part is not None]
    images = _relabel(_concatenate(parts), extra.class_names, dataset.class_names)
    held = [dataset.test] if dataset.validation is None else [dataset.test, dataset.validation]
    train = _shuffle(_concatenate([dataset.train, _without(images, _concatenate(held))]))
    origin = dataset.origin
    title = f"{origin.title}, with {extra.origin.title or extra.origin.name} added to the training images"
    return dataset._replace(train=train, origin=origin._replace(name=f"{origin.name} with {extra.origin.name}", title=title))


def with_validation(dataset: Dataset) -> Dataset:
    """A dataset that has its validation part: its own, else a random share of its training images."""
    train = dataset.train
    if dataset.validation is not None or len(train) < 2:
        return dataset
    parts = split(len(train))
    return dataset._replace(train=train.take(parts.train), validation=train.take(parts.validation))


def _load_members(names: Sequence[str], folder: Path | None, side: int | None) -> list[Dataset]:
    """Pictures in a folder are framed for the others: `side`, else the side of those that have one already."""
    paths = {name: _folder_path(name) for name in names if name.startswith(FOLDER)}
    free = {name: path for name, path in paths.items() if not path.is_file()}
    loaded = {name: _load_fixed(name, paths.get(name), folder) for name in names if name not in free}
    side = side or next((dataset.side for dataset in loaded.values()), SIZE)
    loaded |= {name: load_folder(path, side) for name, path in free.items()}
    if len(loaded) < len(names):
        raise DataError(f"{'+'.join(names)} names a dataset twice")
    return [loaded[name] for name in names]


def _load_fixed(name: str, packed: Path | None, folder: Path | None) -> Dataset:
    if packed is not None:
        return load_folder(packed)
    if name not in LOADERS:
        raise DataError(f"dataset {name!r} is unknown; there are: {', '.join(LOADERS)}, {FOLDER}PATH, and mixes joined by +")
    return LOADERS[name](folder)


def _folder_path(name: str) -> Path:
    path = name.removeprefix(FOLDER)
    if not path:
        raise DataError(f"dataset {name!r} names no folder: write {FOLDER}PATH")
    return Path(path).expanduser()


def _check(name: str, dataset: Dataset) -> None:
    if len(dataset.class_names) < 2:
        raise DataError(f"dataset {name!r} has one class only, {dataset.class_names[0]!r}: there must be two to tell apart")
    if len(dataset.train) < 2 or not len(dataset.test):
        found = f"{len(dataset.train)} images to train on and {len(dataset.test)} to test"
        raise DataError(f"dataset {name!r} is too small: it has {found}")


def _check_sides(first: Dataset, second: Dataset) -> None:
    if first.side != second.side:
        sides = f"{first.side} and {second.side} pixels a side"
        raise DataError(f"{first.origin.name} and {second.origin.name} do not go together: their images have {sides}")


def _relabel(images: Images, own: Sequence[str], names: Sequence[str]) -> Images:
    """The same images, with labels that are indices into `names` instead of `own`."""
    places = torch.tensor([names.index(name) for name in own])
    return Images(images.images, places[images.labels])


def _concatenate(parts: Sequence[Images]) -> Images:
    return Images(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _without(images: Images, held: Images) -> Images:
    """Leave out each image that is held out, pixel for pixel: a folder may hold copies of what another part tests with."""
    known = {image.tobytes() for image in held.images.numpy()}
    fresh = torch.tensor([image.tobytes() not in known for image in images.images.numpy()], dtype=torch.bool)
    if not fresh.all():
        print(f"left out: {int((~fresh).sum())} images that are held out elsewhere", file=sys.stderr)
    return images.take(fresh.nonzero()[:, 0])


def _shuffle(images: Images) -> Images:
    """In one fixed order, so that the first few are of all parts."""
    return images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(0)))


def _join_origins(origins: Sequence[Origin]) -> Origin:
    def told(field: str) -> str:
        said = [(origin.title or origin.name, getattr(origin, field)) for origin in origins]
        return "; ".join(f"{title}: {words}" for title, words in said if words)

    name, title = "+".join(origin.name for origin in origins), " and ".join(origin.title or origin.name for origin in origins)
    return Origin(name, title, told("source"), told("licence"), told("split"))

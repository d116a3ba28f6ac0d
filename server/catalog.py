"""What is served, by every name; and the look at the repository, some times a second, that keeps it so.

A change counts once two looks in a row have found the same files: a copy that is under way is left alone. A new version is
read, loaded and tried beside the old one, which goes on with the calls that have found it and is released after the last of
them, since nobody else holds it then. One that is no good is refused until its files change. Labels move at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from server.errors import ModelNotFound, ModelRefused
from server.health import HealthServicer
from server.labels import STABLE, Labels, index_names, parse_labels
from server.loader import REFUSALS
from server.repository import (
    DEFAULT_MODEL,
    LABELS,
    ModelCard,
    RepositoryError,
    Stamp,
    Survey,
    Version,
    read_card,
    stamp,
    survey,
)
from server.servicer import Served

logger = logging.getLogger("digitserve.catalog")

LoadCard: TypeAlias = Callable[[ModelCard, Callable[[], object]], Awaitable[Served]]


class Catalog:
    """The models of one repository. Everything here belongs to the event loop's thread and changes in one step.

    Attributes:
        models: every way to ask for a model, "" for the default one.
        refused: the versions that lie there and are no good, and why, in words for callers.
    """

    def __init__(self, root: Path, health: HealthServicer) -> None:
        self.models: dict[str, Served] = {}
        self.refused: dict[Version, str] = {}
        self._root, self._health = root, health
        self._default = ""
        self._served: dict[Version, Served] = {}
        self._seen: dict[Version, Stamp] = {}  # by the last look
        self._taken: dict[Version, Stamp] = {}  # what was loaded or refused
        self._unloaded: set[str] = set()
        self._misnamed: set[Path] = set()  # told of already
        self._labels = Labels()
        self._blind = self._watching = False
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, load_card: LoadCard) -> None:
        """Loads what lies there. Every model must have a good version; a bad one beside it is refused.

        Args:
            load_card: makes a model ready, and calls back when it begins to fail and when it is well again.

        Raises:
            ModelError, ProviderError, RepositoryError: there is no model, or one has no good version, or a bad labels.json.
        """
        self._load_card = load_card
        found = await asyncio.to_thread(survey, self._root)
        for name, content in found.labels.items():
            parse_labels(content, name)
        self._tell_misnamed(found.misnamed)
        self._labels.read(found.labels)
        self._seen = found.versions
        errors = {version: await self._take(version, files) for version, files in found.versions.items()}
        well = {name for name, _ in self._served}
        for (name, _), error in errors.items():
            if error and name not in well:
                raise error
        for version, error in errors.items():
            if error:
                self._refuse(version, error)
        self._default = min(well) if len(well) == 1 else DEFAULT_MODEL
        self._show()
        if unnamed := sorted(well - set(self.models)):
            raise RepositoryError(f"{unnamed[0]}@{STABLE} is set by {LABELS} to a version that is not served")

    def watch(self, poll_s: float) -> None:
        """From now on health tells of the models; and unless `poll_s` is 0, the repository is looked at so often."""
        self._watching = True
        self.report()
        if poll_s:
            self._start(self._watch(poll_s))

    async def close(self) -> None:
        """Looks no more and loads nothing more. What is served stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def report(self) -> None:
        """Tells health how each model is."""
        if self._watching:
            self._health.report({name: one.batcher.healthy for name, one in self.models.items() if name})

    async def look(self) -> None:
        """Moves labels, lets go of what has gone, and begins to load what is new."""
        try:
            found = await asyncio.to_thread(survey, self._root)
        except RepositoryError as error:
            if not self._blind:
                logger.error("everything that is served goes on: %s", error)
            self._blind = True
            return
        self._blind = False
        self._tell_misnamed(found.misnamed)
        before, self._seen = self._seen, found.versions
        gone = [version for version in self._taken if version not in before and version not in found.versions]
        for name, version in gone:
            logger.info("%s %s has gone and is served no more", name, version)
        self._forget(gone)
        if self._labels.read(found.labels) or gone:
            self._show()
        new = {
            version: files
            for version, files in found.versions.items()
            if before.get(version) == files and self._is_new(version, files)
        }
        if new and not self._one_at_a_time.locked():
            self._start(self._take_all(new))

    async def load(self, name: str) -> None:
        """Looks at one model now, and returns once its newest version is served.

        Raises:
            ModelNotFound: nothing of that name lies there.
            ModelRefused: its newest version is no good. What was served before goes on.
        """
        lying = (await self._survey()).versions
        versions = {version: files for version, files in lying.items() if version[0] == name}
        if not versions:
            raise ModelNotFound(f"no model {name[:80]!r} lies in the repository", field="model_name")
        self._unloaded.discard(name)
        self._seen = self._seen | versions  # a look that began before they came must not take them for gone
        for version in versions:
            if version in self.refused:
                self._taken.pop(version, None)
        await self._take_all(versions)
        if self._labels.read((await self._survey()).labels):  # as they are by now: a look may have moved them meanwhile
            self._show()
        *_, newest = versions
        if reason := self.refused.get(newest):
            raise ModelRefused(f"{' '.join(newest)} is refused: {reason}", field="model_name")

    async def _survey(self) -> Survey:
        """For callers. Raises ModelRefused."""
        try:
            return await asyncio.to_thread(survey, self._root)
        except RepositoryError as error:
            logger.error("everything that is served goes on: %s", error)
            raise ModelRefused("the model repository can't be read; the server's log knows more") from None

    async def unload(self, name: str) -> None:
        """Takes a model out until load() or a restart. Raises ModelNotFound if it is not served."""
        async with self._one_at_a_time:
            versions = [version for version in self._taken if version[0] == name]
            if not versions:
                raise ModelNotFound(f"no model {name[:80]!r} is served", field="model_name")
            self._unloaded.add(name)
            self._forget(versions)
            self._show()
            logger.info("%s is unloaded", name)

    def list_absent(self) -> dict[Version, str]:
        """Every version that lies there and is not served, with the reason; and those whose new files are refused."""
        return {version: "unloaded" for version in self._seen if version[0] in self._unloaded} | self.refused

    def _tell_misnamed(self, misnamed: set[Path]) -> None:
        """Names each of them once."""
        for at in sorted(misnamed - self._misnamed):
            logger.warning("%s is passed over: names are of a-z, 0-9, - and _, a letter first; versions are whole numbers", at)
        self._misnamed = misnamed

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, poll_s: float) -> None:
        while True:
            await asyncio.sleep(poll_s)
            try:
                await self.look()
            except Exception:
                logger.exception("a look at the model repository failed")

    def _is_new(self, version: Version, files: Stamp) -> bool:
        return self._taken.get(version) != files and version[0] not in self._unloaded

    async def _take_all(self, versions: Mapping[Version, Stamp]) -> None:
        """Loads one after another, and shows them together: no label is said to wait for the next one."""
        async with self._one_at_a_time:
            for version, files in versions.items():
                if self._is_new(version, files):
                    failure = await self._take(version, files)
                    if failure and not self._is_new(version, files):
                        self._refuse(version, failure)
            self._show()

    async def _take(self, version: Version, files: Stamp) -> Exception | None:
        """Loads a version. Returns why it can't be served; it stays new if its files have changed meanwhile."""
        folder = self._root.joinpath(*version)
        failure: Exception | None = None
        try:
            served = await self._load_card(await asyncio.to_thread(read_card, folder), self.report)
        except REFUSALS as error:
            # With its traceback it would hold this frame, which holds it: and both the session, until a garbage collection.
            failure = error.with_traceback(None)
        except Exception:
            logger.exception("%s %s failed unexpectedly", *version)
            failure = RepositoryError("it failed unexpectedly; the server's log knows more")
        if await asyncio.to_thread(_differs, folder, files):
            return failure or RepositoryError(f"{folder} has changed while it was read")
        self._taken[version] = files
        if not failure:
            self._served[version] = served
            self.refused.pop(version, None)
        return failure

    def _refuse(self, version: Version, error: Exception) -> None:
        """Callers see no path of this machine, and nothing of what an engine says of its own insides."""
        text = str(error)
        logger.error("%s %s is refused: %s", *version, text)
        told = text.replace(f"{self._root}/", "")
        self.refused[version] = told if isinstance(error, RepositoryError) else told.partition(": ")[0]

    def _forget(self, versions: Iterable[Version]) -> None:
        for version in versions:
            for known in (self._served, self._taken, self.refused):
                known.pop(version, None)

    def _show(self) -> None:
        """Puts what is served under all its names."""
        served = [self._served[version] for version in sorted(self._served, key=lambda version: (version[0], int(version[1])))]
        cards = [one.card for one in served]
        labels = self._labels.place(cards)
        names = index_names(cards, labels, self._default)
        shown = {name: self._served[card.name, card.version] for name, card in names.items()}
        self.models.clear()
        self.models.update(shown)
        for one in served:
            one.labels = tuple(label for label, at in labels[one.card.name].items() if at == one.card.version)
        self.report()


def _differs(folder: Path, files: Stamp) -> bool:
    try:
        return stamp(folder) != files
    except OSError:
        return True

"""What a kind of stage is: the keys that it has in a recipe, and what makes its `StageSpec` from them.

Each room declares its kinds beside the code that runs them; `recipe.kinds` lists where they stand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.engine.workload import Workload


@dataclass(frozen=True)
class Compute(Settings):
    """What stages may use. It changes how fast they are, never what they give."""

    # Processes of a data-parallel training; 0 trains in this process, or in one worker where a GPU is used.
    workers: Annotated[int, Range(0, 4096)] = 0
    # GPUs of each actor that animates or predicts, and of each trial; above 0, trainings use GPUs too.
    gpus: Annotated[float, Range(0, 64)] = 0.0
    # Actors of each pool, and concurrent trials of a sweep; None: as many as the cluster has room for.
    actors: Annotated[int, Range(1, 100_000)] | None = None

    def agree(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}; use a share below 1, or a whole number")


@dataclass(frozen=True)
class Input:
    """A key that names outputs of stages of `kinds`, or corpora of the recipe where there are none. meaning: what for,
    where that does not follow from the kinds.
    """

    name: str
    kinds: tuple[str, ...] = ()
    several: bool = False
    optional: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class InputFile:
    """A key that names a file. meaning: what is in it. remedy: what to do where the key is missing; without one the
    file is optional.
    """

    name: str
    meaning: str
    remedy: str = ""


@dataclass(frozen=True)
class Option:
    """An optional key that is neither an input, nor a file, nor part of a configuration."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Request:
    """A stage of a recipe as its kind sees it.

    inputs: for `StageKind.build` the opened artifacts (or corpora) of each key, for `StageKind.check` their names, for
    `StageKind.workload` their `workload.Content`.
    files: the paths or URIs that are given. options: settings that are neither a file nor part of `config`.
    """

    config: Any
    compute: Compute
    inputs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    store: Tracking | None = None
    recipe: str = ""  # the text of the recipe

    def all(self, name: str) -> Sequence[Any]:
        return self.inputs.get(name, ())

    def one(self, name: str) -> Any:
        """The only input under a key; None where an optional key is missing."""
        return next(iter(self.all(name)), None)

    @property
    def tracking(self) -> Tracking:
        """Where the stage logs. UserError where the outputs are remote and no MLflow server is given."""
        if self.store is None:
            raise UserError(
                "runs are logged to a SQLite file next to the outputs, but the outputs are not on this machine: "
                "set 'tracking' to the address of an MLflow server."
            )
        return self.store


@dataclass(frozen=True)
class StageKind:
    """A kind of stage.

    makes: what its output is, in a phrase. config: the frozen dataclass that the other keys of the stage fill. build:
    makes the spec. check: raises UserError where settings contradict each other, before anything runs. tracked: its
    runs are logged to MLflow in full. shown: the files that a run copies to where people look for them, a folder named
    after the stage; the page is the first. workload: what `twfer plan` expects of the stage; None where it cannot tell.
    """

    name: str
    makes: str
    config: type
    build: Callable[[Request], StageSpec]
    inputs: tuple[Input, ...] = ()
    files: tuple[InputFile, ...] = ()
    options: tuple[Option, ...] = ()
    check: Callable[[Request], None] = lambda request: None
    tracked: bool = False
    shown: tuple[str, ...] = ()
    workload: Callable[[Request], Workload | None] = lambda request: None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that do not belong to `config`."""
        return (*(i.name for i in self.inputs), *(f.name for f in self.files), *(o.name for o in self.options))

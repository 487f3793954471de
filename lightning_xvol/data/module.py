"""The Lightning data module for labelled images, and the order in which a run sees its images.

The order is a function of (seed, epoch) and the augmentation is a function of (seed, epoch, index). So a resumed run
needs no random state: its loader starts at the batch where the run stopped.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_xvol.config import registry
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data import build_data
from lightning_xvol.data.contents import contents_of
from lightning_xvol.data.contract import check_attributes, contract_of, require_map_style
from lightning_xvol.data.keyed import Key, KeyedBatch, KeyedDataset, collate
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.contents import generated
from lightning_xvol.processes import end_with_parent
from lightning_xvol.seeding import derive_seed


@dataclass(frozen=True)
class StepPlan:
    """How the budget of a run divides into epochs; all counts are optimizer steps."""

    steps_per_epoch: int
    total_steps: int

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, step within the epoch) after `step` steps."""
        return divmod(step, self.steps_per_epoch)

    def after(self, batch: int | None) -> tuple[int, int]:
        """(steps done, epochs begun) after `batch`, which Lightning counts from 0; None is before the first."""
        done = 0 if batch is None else min(batch + 1, self.total_steps)
        return done, math.ceil(done / self.steps_per_epoch)

    def epoch_length(self, epoch: int) -> int:
        """The number of steps in `epoch`; the last epoch ends with the budget."""
        return max(0, min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch))


def make_plan(config: RunConfig, train_size: int) -> StepPlan:
    """The plan of a run with whole batches only: the images of an epoch that fill no batch are left out.

    Raises:
        UserError: if the images do not fill one batch.
    """
    steps_per_epoch = train_size // config.data.batch_size
    if steps_per_epoch == 0:
        raise UserError(f"data.batch_size={config.data.batch_size} is larger than the {train_size} training images")
    return StepPlan(steps_per_epoch, config.train.steps or config.train.epochs * steps_per_epoch)


class KeyedBatchSampler(Sampler[list[Key]]):
    """Batches of keys (epoch, index) for one process.

    Step t of an epoch takes the images [t B, (t + 1) B) of the permutation of that epoch. Processes and accumulated
    batches only divide these B images, as [accumulate, devices, B / (accumulate devices)].
    """

    def __init__(self, config: RunConfig, plan: StepPlan, train_size: int, rank: int) -> None:
        self.config, self.plan, self.train_size, self.rank = config, plan, train_size, rank
        self.epoch = 0
        self.first_step = 0

    def __len__(self) -> int:
        return (self.plan.epoch_length(self.epoch) - self.first_step) * self.config.train.accumulate

    def order(self, epoch: int) -> torch.Tensor:
        """The images of `epoch` in their order: all of them, or only as many as fill whole batches."""
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "order", epoch))
        return torch.randperm(self.train_size, generator=generator)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, config = self.epoch, self.config
        order = self.order(epoch)
        size = config.data.batch_size
        for step in range(self.first_step, self.plan.epoch_length(epoch)):
            batch = order[step * size : (step + 1) * size]
            shares = batch.view(config.train.accumulate, config.train.devices, -1)  # [A, D, B / (A D)]
            for share in shares[:, self.rank].tolist():
                yield [(epoch, index) for index in share]


class EvaluationSampler(Sampler[list[Key]]):
    """Every image once over all D processes: process r takes the images r, r + D, r + 2 D, ... None is repeated."""

    def __init__(self, size: int, batch_size: int, rank: int, devices: int) -> None:
        self.indices = range(rank, size, devices)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [(0, index) for index in self.indices[start : start + self.batch_size]]


def _start_worker(_number: int) -> None:
    end_with_parent()
    # A cluster warns the run's process of a time limit. A worker inherits the handlers and must not act on them.
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, signal.SIG_IGN)


class ImageDataModule(LightningDataModule):
    """The data of `config`, keyed. Batches are (images [B, C, H, W], labels [B], indices [B]).

    Images of a `RawSplit` leave the loaders as uint8, and the trainer calls `normalise` on the device.

    Args:
        config: of the run.
        data_dir: the folder that contains data sets.
        download: allows torchvision to fetch CIFAR and Fashion-MNIST.
    """

    collate: Callable[[list[Any]], Any] = staticmethod(collate)

    def __init__(self, config: RunConfig, data_dir: Path | None = None, *, download: bool = False) -> None:
        super().__init__()
        self.config = config
        self.data = build_data(config.data, data_dir, download=download, seed=config.seed)
        check_attributes(config.data.name, self.data.num_classes, self.data.image_shape)
        self.num_classes: int = self.data.num_classes
        self.image_shape: tuple[int, int, int] = self.data.image_shape
        self._train = self._keyed(self.data.train(), "train")
        self._validation = self._keyed(self.data.validation(), "validation")
        test = self.data.test()
        self._test = None if test is None else self._keyed(test, "test")
        self.train_size = len(self._train)
        self.plan = self.plan_for(config)
        self.first_step = 0
        self._train_loader: DataLoader[Any] | None = None

    @functools.cached_property
    def contents(self) -> dict[str, Any]:
        """What the data are, with their digest (`lightning_xvol.ledger.contents`)."""
        splits = {"train": self._train, "validation": self._validation, "test": self._test}
        raw = {name: None if split is None else split.dataset for name, split in splits.items()}
        return generated(self.config.data) or contents_of(self.data, raw)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the labels; empty if the data set has none."""
        names = tuple(map(str, getattr(self.data, "classes", ())))
        return names if len(names) == self.num_classes else ()

    @property
    def evaluation_batch(self) -> int:
        return 4 * self.config.data.batch_size

    @property
    def has_test(self) -> bool:
        """Whether there is a test split. Without one, tables report the validation split."""
        return self._test is not None

    def _keyed(self, dataset: Dataset[Any], split: str) -> KeyedDataset:
        data = self.config.data
        what = f"the {split} split of data {data.name!r}"
        require_map_style(dataset, what)
        contract = None
        if registry.task(data.name, data.options) == "classification":
            contract = contract_of(dataset, what, self.num_classes, self.image_shape)
        return KeyedDataset(dataset, derive_seed(self.config.seed, "augmentation"), contract)

    def plan_for(self, config: RunConfig) -> StepPlan:
        """The plan of `config`, which must have the same data."""
        return make_plan(config, self.train_size)

    def continued(self, steps: int) -> Self:
        """The same data for a training of `steps` more steps. Their order of images continues that of this training."""
        further = copy.copy(self)
        further.first_step = self.plan.total_steps
        further.plan = dataclasses.replace(self.plan, total_steps=self.plan.total_steps + steps)
        further._train_loader = None
        return further

    def sampler(self, rank: int) -> KeyedBatchSampler:
        """The batches of the training split for the process `rank`."""
        return KeyedBatchSampler(self.config, self.plan, self.train_size, rank)

    def normalise(self, batch: KeyedBatch) -> KeyedBatch:
        """A batch of any loader with normalised images, on the device where they are."""
        return batch._replace(images=self._train.normalise(batch.images))

    def on_after_batch_transfer(self, batch: KeyedBatch, dataloader_idx: int) -> KeyedBatch:
        """Lightning's hook. Lightning has already cast float images to the run's precision; this casts uint8 images."""
        if self.trainer is None or batch.images.dtype != torch.uint8:
            return batch
        finished: KeyedBatch = self.trainer.precision_plugin.convert_input(self.normalise(batch))
        return finished

    def _loader(self, dataset: KeyedDataset, sampler: Iterable[list[Key]]) -> DataLoader[Any]:
        workers = self.config.data.workers
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            # In a process of a pool the default is the pool's start method, which would import torch in each worker.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader of the trainer's epoch, from the first step of a resumed run. Lightning calls this every epoch."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("the training loader needs a trainer, because it follows the trainer's epoch")
        return self.loader_of_epoch(trainer.current_epoch, trainer.global_rank)

    def loader_of_epoch(self, epoch: int, rank: int = 0) -> DataLoader[Any]:
        """The training loader, set to `epoch`. It is always the same object, so that its workers stay alive."""
        if self._train_loader is None:
            self._train_loader = self._loader(self._train, self.sampler(rank))
        sampler = cast(KeyedBatchSampler, self._train_loader.batch_sampler)
        resumed, step = self.plan.position(self.first_step)
        sampler.epoch = epoch
        sampler.first_step = step if epoch == resumed else 0
        return self._train_loader

    def calibration_loader(self, batches: int) -> DataLoader[Any]:
        """The first `batches` that the first process sees in the first epoch; the same in every process."""
        return self._loader(self._train, list(itertools.islice(self.sampler(rank=0), batches)))

    def _evaluation_loader(self, dataset: KeyedDataset) -> DataLoader[Any]:
        rank, devices = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return self._loader(dataset, EvaluationSampler(len(dataset), self.evaluation_batch, rank, devices))

    def val_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_loader(self._validation)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test split, or the validation split if there is no test split."""
        return self._evaluation_loader(self._test if self._test is not None else self._validation)

"""One run, from configuration to record. An interrupted run resumes exactly."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_xvol.backbones.cost import count_macs, count_parameters
from lightning_xvol.config import libraries
from lightning_xvol.config.fast import has_float32_products
from lightning_xvol.config.resolved import SCHEMA, Resolved, resolve
from lightning_xvol.config.schema import RunConfig, to_dict
from lightning_xvol.config.weight_gradient import has_live_taps
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import one_line
from lightning_xvol.ledger import contents, files
from lightning_xvol.ledger.checkpoints import AtomicCheckpointIO, list_checkpoints, newest_intact, prune
from lightning_xvol.ledger.locking import locked
from lightning_xvol.ledger.origins import check_weights, with_origin
from lightning_xvol.ledger.record import metrics_bytes, write_failure, write_result
from lightning_xvol.operators.pssa import use_float32_products
from lightning_xvol.operators.spatial import use_live_taps
from lightning_xvol.processes import own_variables, rank
from lightning_xvol.seeding import derive_seed, seed_generators
from lightning_xvol.surroundings import signals
from lightning_xvol.surroundings.printing import bare_output
from lightning_xvol.training import environment
from lightning_xvol.training.callbacks import (
    LOG_EVERY_STEPS,
    BestWeights,
    Checkpointer,
    Diverged,
    Report,
    Row,
    RunLog,
    Segments,
    Watch,
)
from lightning_xvol.training.evaluation import FinalEvaluation, Summary, selected_by
from lightning_xvol.training.finished import check_finished, own_result, whose
from lightning_xvol.training.hashing import weights_sha256
from lightning_xvol.training.pretrained import check_libraries, load_pretrained
from lightning_xvol.training.tasks import taps_outside, task_of, without_effect
from lightning_xvol.training.tracked_pictures import pictures_of
from lightning_xvol.training.tracking import Tracking, check_tracking, open_logger
from lightning_xvol.training.trainer import make_trainer

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_BEST = "checkpoints/best.pt"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """Everything that a run needs beside its configuration. No result depends on it.

    Attributes:
        data_dir: the folder of the data sets.
        download: whether torchvision may download data into it.
        tracking: how W&B tracks the run.
        progress_bar: whether to show a progress bar.
        report: called at the first step, at the last one, and now and then between them.
        nodes: the number of machines that share the processes of the run (`train.devices`).
        callbacks: further callbacks, which must not change the run.
        protocol: what the record holds about the protocol of the experiment (`lightning_xvol.ledger.protocol`).
    """

    data_dir: Path | None = None
    download: bool = False
    tracking: Tracking = field(default_factory=Tracking)
    progress_bar: bool = False
    report: Report | None = None
    nodes: int = 1
    callbacks: Sequence[Callback] = ()
    protocol: Mapping[str, str] | None = None


def build_network(config: RunConfig, num_classes: int, in_channels: int) -> torch.nn.Module:
    """The network of `config` with random weights, which depend on the seed alone."""
    seed_generators(derive_seed(config.seed, "weights"))
    network = task_of(config).network(config, num_classes, in_channels)
    resolved = resolve(config)
    bfloat16 = config.train.precision == "bf16-mixed"
    use_live_taps(network, has_live_taps(resolved) and not bfloat16, has_live_taps(resolved) and bfloat16)
    use_float32_products(network, has_float32_products(resolved))
    return network.to(memory_format=MEMORY_FORMATS[config.train.memory_format])


def train(config: RunConfig, folder: Path, context: RunContext | None = None) -> dict[str, Any]:
    """Train `config` in `folder` and return its record. A finished run is not repeated; an interrupted one resumes.

    Raises:
        UserError: for a configuration or data that cannot work, or a folder with the record of another run. Nothing is
            written then.
        locking.Held: if another process works in `folder`.
    """
    with own_variables():
        return _train(with_origin(config, None), folder, context or RunContext())


def _train(config: Resolved, folder: Path, context: RunContext) -> dict[str, Any]:
    finished = own_result(folder, config)
    if finished is not None:
        check_finished(finished, config, folder, context.data_dir, context.download)
        return finished
    check_weights(config)
    check_tracking(context.tracking)
    check_libraries(config, folder)
    _configure_process(config)
    data = task_of(config).data(config, context.data_dir, download=context.download)
    contents.check(contents.begun_on(folder), data.contents, config.data, f"the unfinished run in {str(folder)!r}")
    network = build_network(config, data.num_classes, data.image_shape[0])
    # A resumed run has all its weights in its checkpoint and does not need the file.
    pretrained = not list_checkpoints(folder / "checkpoints")
    if pretrained:
        load_pretrained(network, config)
    files.make_folder(folder / "checkpoints")
    # Only the first process of a run holds the folder and writes.
    with locked(folder) if rank() == 0 else contextlib.nullcontext():
        finished = own_result(folder, config)  # another process may have finished it meanwhile
        if finished is not None:
            contents.check(finished.get("data"), data.contents, config.data, whose(folder))
            return finished
        run: _Run | None = None
        try:
            run = _Run(config, folder, context, data, network, pretrained)
            with bare_output() if context.progress_bar else contextlib.nullcontext():
                return run.complete()
        except BaseException as error:
            terminated = _is_terminated(error, run)
            failure = one_line(error) if isinstance(error, Exception) and not terminated else None
            if run is not None:
                run.close(None, failure)
            if failure is not None and rank() == 0:
                _record_failure(folder, failure, 0 if run is None else run.trainer.global_step)
            if terminated:
                # With Lightning's exception the process would end with code 0, as if the run had finished.
                raise signals.Terminated from error
            raise


def _is_terminated(error: BaseException, run: _Run | None) -> bool:
    """Whether SIGTERM caused `error`. The signal may also have ended the loaders of the run."""
    if isinstance(error, (SIGTERMException, signals.Terminated)) or signals.settle(error):
        return True
    return run is not None and bool(run.trainer.received_sigterm)


def _configure_process(config: RunConfig) -> None:
    torch.set_num_threads(config.train.threads)
    # Lightning reads the rank when it is imported; for a forked process, that may have been in another process.
    rank_zero_only.rank = rank()  # type: ignore[attr-defined]
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*",
        ".*`srun` command is available.*",
        ".*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)


def _record_failure(folder: Path, error: str, step: int) -> None:
    try:
        write_failure(folder, error, step)
    except OSError as full:  # a full disk may well be the cause of the first error too
        log.warning("cannot write failure.json: %s", full)


class _Run:
    """The objects of one run in one process."""

    def __init__(
        self,
        config: Resolved,
        folder: Path,
        context: RunContext,
        data: ImageDataModule,
        network: torch.nn.Module,
        pretrained: bool,
    ) -> None:
        self.config, self.folder, self.data, self.nodes = config, folder, data, context.nodes
        self.protocol = context.protocol
        self.task = task_of(config)
        self.identity: dict[str, Any] = {
            "cell_id": config.cell_id,
            "config": to_dict(config),
            # With the next three values, other commands build the network without the data.
            "num_classes": data.num_classes,
            "image_shape": list(data.image_shape),
            "classes": list(data.classes),
            "libraries": libraries.versions(config.backbone.name),
        }
        self.commit = environment.commit()
        writes = rank() == 0
        if writes:
            for place in (folder, folder / "checkpoints"):
                files.remove_leftovers(place)
            files.write_json(folder / contents.FILE, data.contents)
            files.write_text(folder / "config.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))
        found = newest_intact(folder / "checkpoints", self.identity["cell_id"])
        if found is not None and data.has_test and self._best_weights_lost(found[1]["run"]["rows"]):
            log.warning("the weights of the best epoch are missing; the run starts again")
            found = None
        if found is None and not pretrained:
            load_pretrained(network, config)
        self.checkpoint: Path | None = None
        rows: list[Row] = []
        start_step = 0
        if found is not None:
            self.checkpoint, content = found
            start_step, rows = content["run"]["step"], content["run"]["rows"]
            log.info("resuming from %s", self.checkpoint.name)
        data.first_step = start_step
        self.log = RunLog(folder / "metrics.csv" if writes else None, data.plan, rows)
        self.evaluation = FinalEvaluation(config, data, self.log, folder / _BEST, self._compute)
        self.segments = Segments(
            folder / "segments.json" if writes else None, start_step, self.checkpoint.name if self.checkpoint else None
        )
        self.params = count_parameters(network)
        self.macs = count_macs(self.task.body(network), data.image_shape)
        for text in (*taps_outside(config, network, data.image_shape), *without_effect(config, network)):
            log.info("note: %s", text)
        if config.train.compile:
            network.compile()
        self.module = self.task.module(network, config, data)
        self.kept = self.task.kept(config, data)
        self.notes: list[str] = []
        self.tracker = None
        if writes:
            self.tracker = open_logger(context.tracking, config, folder, self.commit, data.plan, self.notes.append)
        self.pictures = None if self.tracker is None else pictures_of(self.kept)
        try:
            self.trainer = self._make_trainer(context, start_step)
        except BaseException as error:
            self.close(None, one_line(error) if isinstance(error, Exception) else None)
            raise

    def _best_weights_lost(self, rows: Sequence[Row]) -> bool:
        """Whether the file with the best weights is missing, as after a finished run lost its record."""
        validated = any(row["name"] == selected_by(self.config) for row in rows)
        return validated and not (self.folder / _BEST).exists()

    def _make_trainer(self, context: RunContext, start_step: int) -> Trainer:
        train, plan = self.config.train, self.data.plan
        callbacks: list[Callback] = [
            # This is first, so that every checkpoint holds finite weights.
            Watch(plan, context.report, self.log, self.evaluation.validated_by),
        ]
        if self.data.has_test:
            # This comes before the checkpoint of the epoch, so a run that is killed between the two repeats the epoch.
            callbacks.append(BestWeights(self.folder / _BEST, self.log, selected_by(self.config)))
        callbacks.append(
            Checkpointer(
                self.folder / "checkpoints",
                plan,
                train.checkpoint_every,
                start_step,
                self.log,
                self.segments,
                self.identity,
            )
        )
        if context.progress_bar:
            callbacks.append(TQDMProgressBar())
        callbacks += [callback for callback in (self.kept, self.pictures) if callback is not None]
        callbacks += context.callbacks
        return make_trainer(
            threads=train.threads,
            max_epochs=-1,
            max_steps=plan.total_steps,
            **self._compute(),
            accumulate_grad_batches=train.accumulate,
            gradient_clip_val=self.config.optim.clip,
            # The loader of a resumed epoch is shorter than the next loader.
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            log_every_n_steps=LOG_EVERY_STEPS,
            logger=[self.log] if self.tracker is None else [self.log, self.tracker],
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=context.progress_bar,
            default_root_dir=os.fspath(self.folder),
        )

    def _compute(self) -> dict[str, Any]:
        """The arguments with which every trainer of this run computes, in training and evaluation."""
        train = self.config.train
        return {
            "devices": train.devices // self.nodes,
            "num_nodes": self.nodes,
            "strategy": "ddp" if train.devices > 1 else "auto",
            "precision": train.precision,
            "use_distributed_sampler": False,
            # Named, because otherwise Lightning would find Slurm and requeue the job itself.
            "plugins": [AtomicCheckpointIO(), LightningEnvironment()],
        }

    def complete(self) -> dict[str, Any]:
        """Train, evaluate and write the record."""
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=self.checkpoint, weights_only=True)
            metrics, status = self._evaluate(), "finished"
        except Diverged as error:
            log.warning("%s; the run is recorded as diverged", error)
            metrics, status = self.evaluation.summary(), "diverged"
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's answer to Ctrl-C
                raise KeyboardInterrupt from None
            raise
        # The weights are final here. Lightning has restored the generators and the SIGTERM handler of the process.
        segments = self._segments()
        result = {
            "schema": SCHEMA,
            "cell_id": self.identity["cell_id"],
            "group_id": self.config.group_id,
            "optimisation_id": self.config.optimisation_id,
            "seed": self.config.seed,
            "config": to_dict(self.config),
            "metrics": metrics,
            "params": self.params,
            "macs": self.macs,
            **{
                cost: round(sum(segment[cost] for segment in segments), 3)
                for cost in ("wall_seconds", "cpu_seconds")
                if all(cost in segment for segment in segments)  # older segments have no CPU time
            },
            "segments": segments,
            "weights_sha256": weights_sha256(self.module.network),
            "environment": environment.describe(self.config),
            "commit": self.commit,
            **({} if self.protocol is None else {"protocol": dict(self.protocol)}),
            "data": self.data.contents,
            "status": status,
            "metrics_bytes": metrics_bytes(self.folder),
        }
        self.close(result)
        if self.notes:
            result["tracking"] = "; ".join(self.notes)
        if self.trainer.is_global_zero:
            if self.kept is not None and status == "finished":
                self.kept.write(self.folder)
            write_result(self.folder, result)
            self._tidy()
        return result

    def _evaluate(self) -> Summary:
        evaluation, what = self.evaluation, (self.trainer, self.module)
        metrics = evaluation.evaluate(*what) | evaluation.product_use(*what)
        if self.kept is not None and not self.kept.complete:  # the run resumed after its last evaluation
            evaluation.test(self.module, self.kept)
        return metrics

    def _segments(self) -> Sequence[dict[str, Any]]:
        self.segments.reached(self.segments.current["end_step"])
        return self.segments.all()

    def close(self, result: dict[str, Any] | None, error: str | None = None) -> None:
        """End the tracked run, with its result or with the error that ended it."""
        if self.tracker is not None:
            if result is not None and self.pictures is not None:
                self.pictures.show(self.tracker)
            self.tracker.finish(result, error)  # type: ignore[attr-defined]
            self.tracker = None

    def _tidy(self) -> None:
        """Remove files that a finished run no longer needs. The newest checkpoint stays: other commands read it."""
        prune(self.folder / "checkpoints", self.trainer.global_step, keep=1)
        for name in (_BEST, "failure.json", "segments.json", contents.FILE):
            (self.folder / name).unlink(missing_ok=True)

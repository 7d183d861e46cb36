"""Save a checkpoint and exit when the machine is about to be reclaimed."""

import signal
import threading

import torch
import torch.distributed as dist
from mmengine.dist import barrier, get_comm_device, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ..registry import HOOKS
from .checkpoint import CheckpointHook

# Exit code for "temporary failure, try again" (EX_TEMPFAIL of sysexits.h).
REQUEUE = 75
# Slurm and spot instances announce the end with these.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """After SIGTERM or SIGUSR1 to any process, save at the next iteration and exit with ``REQUEUE``.

    A signal during validation is handled after it. Processes agree by reducing a single number, whose result
    is read one iteration later, so that no process waits for it.
    """

    priority = 'LOWEST'  # after the checkpoint hook

    def __init__(self):
        self.received = 0
        self.agreement = None
        self.former = {}

    def before_run(self, runner: Runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # tests have nothing to save
            return
        if threading.current_thread() is threading.main_thread():  # other threads cannot set handlers
            self.former = {number: signal.signal(number, self._note) for number in SIGNALS}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._all_agree():
            self._leave(runner)

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def stop(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}

    def _note(self, number: int, _) -> None:
        self.received = number

    def _all_agree(self) -> bool:
        if not is_distributed():
            return self.received > 0
        known = False
        if self.agreement is not None:
            work, flag = self.agreement
            work.wait()
            known = flag.item() > 0
        flag = torch.tensor([self.received], device=get_comm_device())
        self.agreement = dist.all_reduce(flag, dist.ReduceOp.MAX, async_op=True), flag
        return known

    def _leave(self, runner: Runner) -> None:
        saving = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if saving is not None and not saving.save_now(runner):
            return  # and try again after the next iteration
        if saving is None:
            runner.logger.warning('Asked to stop; nothing is saved, since the config has no CheckpointHook')
            self.stop()
            raise SystemExit(1)
        # Slurm ends the others as soon as the first one exits.
        barrier()
        self.stop()
        name = f' ({signal.Signals(self.received).name})' if self.received else ''
        runner.logger.warning(
            f'Asked to stop{name}; iteration {runner.iter + 1} is saved. Go on with --resume. '
            f'Exit code {REQUEUE} asks for a requeue.'
        )
        raise SystemExit(REQUEUE)

"""Weights, gradients, moments and averages spread over the processes: fully sharded data parallelism.

mmengine has a strategy for the first version that torch had of it. That version flattens the
parameters: rules of weight decay that look at names or at dimensions then do something else, in
silence, and every process clips by the norm of its own part. Here the second version,
``fully_shard``, keeps each parameter as a ``DTensor`` with its name and shape, so that optimizer
constructors, clipping and averaging hooks work as they are.
"""

from copy import deepcopy
from functools import partial

import mmengine.runner
import torch
from mmengine.device import get_device
from mmengine.dist import broadcast, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from ..models.block import ConvNeXtBlock
from ..registry import RUNNERS
from .runner import Runner


class Sharded(mmengine.runner.Runner):
    """mmengine's Runner with a sharded network."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Initialize here and not in ``train``: random numbers for shards are other random numbers."""
        if not self.distributed:
            return super().wrap_model(None, model)
        model = model.to(get_device())
        model.init_weights()
        for tensor in model.state_dict().values():
            broadcast(tensor)
        return shard(model)

    def _init_model_weights(self) -> None:
        if not self.distributed:
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper: dict | OptimWrapper) -> OptimWrapper:
        built = super().build_optim_wrapper(optim_wrapper)
        built.optimizer.register_load_state_dict_pre_hook(shard_moments)
        return built

    def save_checkpoint(self, *args, save_optimizer: bool = True, **kwargs) -> None:
        """Write a checkpoint from the first process; every process has to call this method."""
        if is_main_process():
            super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)
            return
        checkpoint = dict(state_dict=self.model.state_dict())
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Make a checkpoint whole once the hooks have put in what they have."""
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':
            checkpoint = kwargs['checkpoint']
            for field in sorted(checkpoint):  # in one order in all processes
                checkpoint[field] = apply_to(checkpoint[field], lambda x: isinstance(x, DTensor), whole)

    def resume(self, filename: str, *args, map_location: str = 'cpu', **kwargs) -> None:
        """Resume from a checkpoint, which is read into main memory since it holds the whole model."""
        super().resume(filename, *args, map_location=map_location, **kwargs)


@RUNNERS.register_module()
class ShardedRunner(Runner, Sharded):
    """The Runner with a sharded network.

    A block's weights are whole only while it computes. Checkpoints are whole, as those of a run
    without shards: any tool reads them, and either kind of run goes on from those of the other.
    """


def shard(model: nn.Module) -> nn.Module:
    """The model itself, its blocks sharded one by one and all other parameters together.

    It still loads whole weights, and ``deepcopy`` gives plain modules with copies of its shards.
    """
    for module in model.modules():
        # After a block's own hook, which brings the weights of a 1x1 convolution into shape.
        module.register_load_state_dict_pre_hook(shard_weights)
    on_meta = {id(p): nn.Parameter(torch.empty_like(p, device='meta')) for p in model.parameters()}
    skeleton = deepcopy(model, on_meta)
    for block in filter(lambda module: isinstance(module, ConvNeXtBlock), model.modules()):
        fully_shard(block)
    # By default the outermost module keeps its parameters whole after validation.
    fully_shard(model, reshard_after_forward=True)
    model.__deepcopy__ = partial(copy_shards, model, skeleton)
    return model


def copy_shards(model: nn.Module, skeleton: nn.Module, memo: dict) -> nn.Module:
    """What averaging hooks keep: torch refuses to copy sharded modules."""
    copied = deepcopy(skeleton)
    copied.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    return copied


def shard_weights(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """Before a module loads whole tensors: take this process's part of each."""
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = part_of(state_dict[prefix + name], parameter)


def shard_moments(optimizer: Optimizer, state_dict: dict) -> dict:
    """Before an optimizer loads whole moments: take this process's part of each."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    numbers = [number for group in state_dict['param_groups'] for number in group['params']]
    state = {
        number: {key: part_of(value, parameter) for key, value in state_dict['state'][number].items()}
        for number, parameter in zip(numbers, parameters, strict=True)
        if number in state_dict['state']
    }
    return {**state_dict, 'state': state}


def part_of(value: Tensor, parameter: Tensor) -> Tensor:
    """The value laid out as the parameter, unless it is another kind of thing or of another shape."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.detach(), parameter.device_mesh, parameter.placements)


def whole(tensor: DTensor) -> Tensor:
    """All of a sharded tensor, in the memory of the CPU; every process has to call it."""
    mesh = tensor.device_mesh
    # mmengine copies what it saves to the CPU first, where the processes of GPUs cannot exchange it.
    local = tensor.to_local().to(mesh.device_type)
    layout = dict(shape=tensor.shape, stride=tensor.stride(), run_check=False)
    return DTensor.from_local(local, mesh, tensor.placements, **layout).full_tensor().cpu()

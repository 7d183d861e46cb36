"""Fully sharded data parallelism: shard weights, gradients, moments and averages over processes.

mmengine has a strategy for torch's first version of FSDP, which flattens the parameters: rules for weight
decay by name or number of dimensions then silently change, and every process clips gradients by the norm of
its own part. The second version, ``fully_shard``, keeps each parameter as a ``DTensor`` with its name and
shape, so optimizer constructors, clipping and averaging hooks work unchanged.
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
    """Mixin for a Runner with a sharded network."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Initialize here instead of in ``train``, because shards would draw other random numbers."""
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
        """Write a checkpoint from the first process; every process must call this method."""
        if is_main_process():
            super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)
            return
        checkpoint = dict(state_dict=self.model.state_dict())
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Gather the shards in a checkpoint after the hooks have added theirs."""
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':
            checkpoint = kwargs['checkpoint']
            for field in sorted(checkpoint):  # in the same order in all processes
                checkpoint[field] = apply_to(checkpoint[field], lambda x: isinstance(x, DTensor), whole)

    def resume(self, filename: str, *args, map_location: str = 'cpu', **kwargs) -> None:
        """Resume from a checkpoint, which is read into main memory because it contains the whole model."""
        super().resume(filename, *args, map_location=map_location, **kwargs)


@RUNNERS.register_module()
class ShardedRunner(Runner, Sharded):
    """Our Runner with a sharded network.

    The weights of a block are gathered only while it computes. Checkpoints are complete, as without sharding:
    all tools read them, and both kinds of runs can resume from them.
    """


def shard(model: nn.Module) -> nn.Module:
    """Shard a model in place, block by block, and all other parameters together.

    It still loads complete weights, and ``deepcopy`` returns plain modules with copies of its shards.
    """
    for module in model.modules():
        # After the hook of the block, which reshapes the weights of 1x1 convolutions.
        module.register_load_state_dict_pre_hook(shard_weights)
    on_meta = {id(p): nn.Parameter(torch.empty_like(p, device='meta')) for p in model.parameters()}
    skeleton = deepcopy(model, on_meta)
    for block in filter(lambda module: isinstance(module, ConvNeXtBlock), model.modules()):
        fully_shard(block)
    # By default, the outermost module keeps its parameters gathered after validation.
    fully_shard(model, reshard_after_forward=True)
    model.__deepcopy__ = partial(copy_shards, model, skeleton)
    return model


def copy_shards(model: nn.Module, skeleton: nn.Module, memo: dict) -> nn.Module:
    """Copy a sharded model for averaging hooks, because torch refuses to copy sharded modules."""
    copied = deepcopy(skeleton)
    copied.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    return copied


def shard_weights(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """Shard complete tensors before a module loads them."""
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = part_of(state_dict[prefix + name], parameter)


def shard_moments(optimizer: Optimizer, state_dict: dict) -> dict:
    """Shard complete moments before an optimizer loads them."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    numbers = [number for group in state_dict['param_groups'] for number in group['params']]
    state = {
        number: {key: part_of(value, parameter) for key, value in state_dict['state'][number].items()}
        for number, parameter in zip(numbers, parameters, strict=True)
        if number in state_dict['state']
    }
    return {**state_dict, 'state': state}


def part_of(value: Tensor, parameter: Tensor) -> Tensor:
    """Shard a value like the parameter if it is a tensor of the same shape."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.detach(), parameter.device_mesh, parameter.placements)


def whole(tensor: DTensor) -> Tensor:
    """Gather a sharded tensor in CPU memory; every process must call this."""
    mesh = tensor.device_mesh
    # mmengine first copies what it saves to the CPU, where processes with GPUs cannot exchange it.
    local = tensor.to_local().to(mesh.device_type)
    layout = dict(shape=tensor.shape, stride=tensor.stride(), run_check=False)
    return DTensor.from_local(local, mesh, tensor.placements, **layout).full_tensor().cpu()

"""All kernels compile for a GPU. The compiler is stricter than the interpreter, and needs no GPU."""

import os
import subprocess

import pytest
import torch

triton = pytest.importorskip('triton')
pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') == '1', reason='this process interprets kernels'
)


class Hopper:
    """A driver that only names the compilation target."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget('cuda', 90, 32)


@pytest.fixture
def kernels(monkeypatch, tmp_path):
    """Record the kernels that are launched, by name; compile them instead of running them."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    compiled, run = {}, JITFunction.run

    def compile_only(self, *args, warmup, **kwargs):
        kernel = run(self, *args, warmup=True, **kwargs)
        compiled[f'{self.__module__}.{self.__name__} {len(compiled)}'] = kernel

    monkeypatch.setattr(JITFunction, 'run', compile_only)
    monkeypatch.setattr(driver, '_active', Hopper())
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    return compiled


@pytest.mark.slow
def test_kernels_compile_for_hopper_without_spilling(kernels, tmp_path):
    # The compiler treats sizes of 1 as constants.
    for shape, size in (((2, 14, 14, 128), 7), ((1, 1, 1, 1), 3)):
        launch_all(torch.zeros(shape, dtype=torch.bfloat16), size)
    assert len(kernels) == 18
    for name, kernel in kernels.items():
        assert 'STACK:0 ' in resources(kernel, tmp_path / 'kernel.cubin'), name


def launch_all(x, size):
    from mmconvnext.ops.triton import depthwise_conv, gelu, grn, layer_norm

    parameter, image, rows = torch.zeros(x.shape[-1]), x.movedim(-1, 1), x.flatten(1, 2)
    depthwise_conv.convolve(image, torch.zeros(x.shape[-1], 1, size, size), parameter)
    depthwise_conv.weight_grad(image, image, size)
    _, mean, rstd = layer_norm.normalize(x, parameter, parameter, 1e-6)
    layer_norm.normalize_backward(x, x, parameter, mean, rstd)
    gelu.gelu_backward(x, x)
    _, response = grn.respond(rows, parameter, parameter, 1e-6)
    grn.respond_backward(rows, rows, parameter, response, 1e-6)


def resources(kernel, file):
    """Return the registers and the stack size (for spilled registers) that ptxas assigned."""
    file.write_bytes(kernel.asm['cubin'])
    command = [triton.knobs.nvidia.cuobjdump.path, '-res-usage', file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

#!/usr/bin/env python
"""Train a model from a config."""

import argparse

from mmconvnext.command_line import add_cfg_options, add_image_size, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config, or name of one in this package')
    parser.add_argument('--data-root', help='data folder; default that of the config')
    add_image_size(parser)
    parser.add_argument('--work-dir', help='folder for checkpoints and logs; default work_dirs/NAME')
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from the newest checkpoint in the work dir, if there is one, or from '
        'the given file; latest: raise an error if there is none',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--compile', action='store_true', help="compile the backbone with PyTorch's compiler")
    parser.add_argument(
        '--augment-on-device',
        action='store_true',
        help='flip, augment and erase whole batches on the GPU, for machines with few CPU cores',
    )
    parser.add_argument('--no-validate', action='store_true', help='skip validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate linearly with the effective batch size',
    )
    parser.add_argument(
        '--accumulate',
        action='store_true',
        help='accumulate gradients to the effective batch size of the recipe',
    )
    start.add_argument(
        '--smoke',
        action='store_true',
        help='check the config: run two iterations on random noise',
    )
    parser.add_argument(
        '--no-rehearsal',
        dest='rehearsal',
        action='store_false',
        help='skip the check of one training step and one validation batch before the start',
    )
    parser.add_argument(
        '--log',
        nargs='+',
        choices=['tensorboard', 'wandb'],
        help='also log the run to these; a resumed run continues its log',
    )
    add_cfg_options(parser, 'model.backbone.drop_path_rate=0.2')
    add_trust_checkpoint(parser)
    parser.add_argument(
        '--distributed',
        metavar='ENGINE',
        help='engine for distributed training: ddp (default), fsdp or deepspeed; see docs/training.md',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis:train', parse_args())

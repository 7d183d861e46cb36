#!/usr/bin/env python
"""Train a config."""

import argparse

from mmconvnext.command_line import add_cfg_options, add_image_size, add_trust_checkpoint, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config, or the name of one in this package')
    parser.add_argument('--data-root', help="folder of the data, in place of the config's")
    add_image_size(parser)
    parser.add_argument('--work-dir', help='folder for checkpoints and logs; default work_dirs/NAME')
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from the newest checkpoint in the work dir, if there is one, or from the '
        'one named here; latest: an error if there is none',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--compile', action='store_true', help="let torch's compiler fuse the backbone's operations"
    )
    parser.add_argument(
        '--augment-on-device',
        action='store_true',
        help='flip, RandAugment and erase whole batches on the GPU, if the cores beside it are few',
    )
    parser.add_argument('--no-validate', action='store_true', help='leave out validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size over the recipe's",
    )
    parser.add_argument(
        '--accumulate',
        action='store_true',
        help="accumulate gradients until the batch is the recipe's",
    )
    start.add_argument(
        '--smoke',
        action='store_true',
        help='two iterations on noise at the resolution of the config: does it run here?',
    )
    parser.add_argument(
        '--no-rehearsal',
        dest='rehearsal',
        action='store_false',
        help='start without trying one step and one batch of validation before',
    )
    parser.add_argument(
        '--log',
        nargs='+',
        choices=['tensorboard', 'wandb'],
        help='record the run there too; a resumed run goes on where it was',
    )
    add_cfg_options(parser, 'model.backbone.drop_path_rate=0.2')
    add_trust_checkpoint(parser)
    parser.add_argument(
        '--distributed',
        metavar='ENGINE',
        help='how to spread the training over processes: ddp as torch has it (the default), fsdp or '
        'deepspeed, see docs/training.md',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    run_tool('mmconvnext.apis:train', parse_args())

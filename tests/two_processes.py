"""Trains with and without shards, each then resumed; torchrun starts it in two processes.

Arguments: a config file, and the folder for the runs ddp, fsdp, ddp_resumed and fsdp_resumed.
"""

import shutil
import sys
from pathlib import Path

from mmconvnext.apis import train

config, root = map(Path, sys.argv[1:])
for engine in ('ddp', 'fsdp'):
    for name, resume in ((engine, None), (f'{engine}_resumed', str(root / engine / 'epoch_1.pth'))):
        # mmengine keeps one logger for runs of one name that start within a second.
        own = config.with_name(f'{name}.py')
        if not own.exists():
            shutil.copy(config, own)
        train(own, work_dir=str(root / name), resume=resume, launcher='pytorch', distributed=engine)

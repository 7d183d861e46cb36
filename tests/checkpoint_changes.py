"""Change the content of a training checkpoint."""

import torch

ONE_EPOCH = {'train_cfg.max_epochs': 1}


def changed(work_dir, change):
    """Change the content of the checkpoint."""
    file = work_dir / 'epoch_1.pth'
    checkpoint = torch.load(file, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, file)


def put(*path, value):
    """Return a change that sets a nested value of a checkpoint."""

    def change(checkpoint):
        node = checkpoint
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


def drop(*path):
    def change(checkpoint):
        node = checkpoint
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return change


def first_moment(value, name='exp_avg'):
    def change(checkpoint):
        state = checkpoint['optimizer']['state']
        state[next(iter(state))][name] = value

    return change


def retyped(dtype, name='exp_avg'):
    def change(checkpoint):
        state = checkpoint['optimizer']['state']
        first = state[next(iter(state))]
        first[name] = first[name].to(dtype)

    return change


def entry_of(checkpoint, number=-1):
    """Return the key of a parameter in the state of an optimizer."""
    return list(checkpoint['optimizer']['state'])[number]


def logs_of(work_dir):
    return ''.join(file.read_text() for file in work_dir.glob('*/*.log'))

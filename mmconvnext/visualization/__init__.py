from .backends import TensorboardBackend, WandbBackend

__all__ = ['TensorboardBackend', 'WandbBackend']

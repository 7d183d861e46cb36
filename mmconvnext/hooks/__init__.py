from .ema import EMAHook

__all__ = ['EMAHook']

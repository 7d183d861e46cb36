from .digits import Digits
from .synthetic import Synthetic

__all__ = ['Digits', 'Synthetic']

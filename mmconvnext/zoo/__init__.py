from .entries import get_entry, list_models
from .models import get_model

__all__ = ['get_entry', 'get_model', 'list_models']

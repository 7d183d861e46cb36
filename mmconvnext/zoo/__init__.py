from .entries import get_entry, list_models
from .mmengine_loader import safe_loading
from .models import get_model
from .names import load_config, load_weights

__all__ = ['get_entry', 'get_model', 'list_models', 'load_config', 'load_weights', 'safe_loading']

"""Paths of the configs, tools and metafiles of this package."""

from pathlib import Path

# The wheel contains them here, where OpenMMLab's tools look for them; in a checkout these are links.
MIM = Path(__file__).parent / '.mim'
CONFIGS = MIM / 'configs'

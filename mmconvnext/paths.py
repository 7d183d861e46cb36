"""Where the configs, tools and metafiles of this package lie."""

from pathlib import Path

# The wheel carries them here, where OpenMMLab's tools look; in a checkout these are links.
MIM = Path(__file__).parent / '.mim'
CONFIGS = MIM / 'configs'

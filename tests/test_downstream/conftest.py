"""Tests with MMDetection and MMSegmentation, which `make test-downstream` installs; skipped without them."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec('mmdet') and find_spec('mmseg') else ['test_*.py']

"""Tests with MMDetection and MMSegmentation, skipped without them; `make test-downstream` installs both."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec('mmdet') and find_spec('mmseg') else ['test_*.py']

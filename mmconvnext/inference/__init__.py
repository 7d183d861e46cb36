"""From images to predictions of classifiers, detectors and segmenters."""

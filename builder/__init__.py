"""From a YAML spec to a checked, costed model."""

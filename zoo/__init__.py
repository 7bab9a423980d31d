"""The zoo: specs as YAML files, one net a file."""

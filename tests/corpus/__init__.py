"""Fitted models and values that the default policy must let through, or must refuse: see `cases` and `missing`."""

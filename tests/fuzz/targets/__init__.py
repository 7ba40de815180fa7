"""The targets: each module has `run(data)`, and `seeds()`, which makes the first inputs."""

"""`python -m safepickle`: the command."""

from .cli import program

if __name__ == "__main__":
    program()

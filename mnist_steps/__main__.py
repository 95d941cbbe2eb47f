"""`python -m mnist_steps`, for where the command is not on the path."""

from mnist_steps.commands.main import main

if __name__ == "__main__":
    main()

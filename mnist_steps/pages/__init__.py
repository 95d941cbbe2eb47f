"""What the site's pages show, each in one call."""

from mnist_steps.pages.parts import *  # noqa: F403

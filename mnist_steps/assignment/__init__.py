"""The course assignment: a starter, a self-check, and a jail for code that nobody trusts."""

"""Many runs: what they are, where they are made, and what they prove together."""

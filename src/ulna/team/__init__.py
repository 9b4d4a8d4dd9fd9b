"""What DVC does not say or do for a team: commands of `ulna`."""

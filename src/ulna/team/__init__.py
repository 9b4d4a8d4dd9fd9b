"""Commands of `ulna`: what DVC does not offer a team."""

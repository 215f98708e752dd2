"""Commands for inbound hooks and their deliveries."""

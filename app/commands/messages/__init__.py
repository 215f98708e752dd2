"""Commands of channels, consents and messages."""

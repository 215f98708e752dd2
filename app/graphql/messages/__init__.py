"""The GraphQL API of channels, consents and messages."""

"""Messages to customers: channels, templates, consents, and the states of a message."""

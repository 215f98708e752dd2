"""One function for each mutation: check, append, wake. They raise Refused for what the caller has to change."""

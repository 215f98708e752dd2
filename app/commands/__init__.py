"""One function for each mutation: check, write, wake. They raise Refused for what the caller has to change."""

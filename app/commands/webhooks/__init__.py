"""Commands for webhook endpoints and replays."""

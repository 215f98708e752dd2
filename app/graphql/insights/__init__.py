"""Questions about all customers, and the proof that what is stored agrees with the events."""

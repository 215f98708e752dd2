"""Commands about rewards: their definitions, redemptions, and units in stock."""

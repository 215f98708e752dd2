"""The asynchronous side: `ls workers` reads as the flow. Each stage loads, decides, saves, wakes; and may die anywhere."""

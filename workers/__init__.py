"""Workers: the stages of the flow and the long jobs. Each stage loads, decides, saves and wakes the next one."""

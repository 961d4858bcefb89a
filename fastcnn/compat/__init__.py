"""For scripts that were written for the original: its module names (`aliases`), and running a script (`script`)."""

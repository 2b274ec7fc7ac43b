"""What Python runs first in a script's process, on a trial of several hosts."""

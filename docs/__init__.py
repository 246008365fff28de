"""Pages beside the README, and the scripts that make the parts of them which follow from the code."""

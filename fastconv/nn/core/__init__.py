"""What layers stand on: the protocol, parameters and the scope in which they are declared."""

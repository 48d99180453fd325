"""What the tests stand on: the real server, a server that fails on demand, and both clients behind one form."""

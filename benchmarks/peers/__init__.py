"""The other servers, ONE FILE EACH. Each runs in its own environment (`setup.sh`)."""

"""latentd beside other model servers on equal work; `README.md` says how. Nothing imports this."""

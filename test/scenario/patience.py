"""How long a test waits for what comes at once. bench/run.py uses mqtt.py, which waits too, where nothing else of the tests is installed."""
PATIENCE = 30  # seconds: a disk or a core that others have taken for a while is no fault of the server

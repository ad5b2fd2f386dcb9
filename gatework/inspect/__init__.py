"""Looking inside a fitted network: the recording of all gates, and the report."""

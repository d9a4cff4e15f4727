"""The review app: Streamlit pages over the store. Nothing here opens DuckDB; `curation/review/` does, briefly."""

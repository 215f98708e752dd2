"""Types that every noun of the schema uses: scalars, ids, paging, payloads."""

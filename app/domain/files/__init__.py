"""Files: parsing of imports and writing of exports."""

"""The pages of docs/reference: one module for each, with the sentences that the code does not have."""

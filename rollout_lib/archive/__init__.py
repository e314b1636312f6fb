"""The archive: records written once, chained, sealed, and read again years later."""

"""`recado bench`: both sides interleaved in one run, on stores and servers of their own."""

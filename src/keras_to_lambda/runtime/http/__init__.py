"""What HTTP callers get besides scores: answers, pages, forms, the API's description."""

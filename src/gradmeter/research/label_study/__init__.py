"""The experiment on wrong labels: errors that are planted in labels, and the scores that shall find them."""

# Nothing is packed in the test.

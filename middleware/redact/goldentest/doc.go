// Package goldentest tests middleware/redact with the outputs of real libraries. It exports nothing, and is a module of its own, which
// keeps zap, zerolog, logrus and others out of the go.mod of the library.
//
//	go test ./...                       # every pair of writers with two of the values, 10,000 random triples
//	LONG_TESTS=1 go test -race ./...    # every pair with every value, 100,000 triples, as in CI
//	go test -v -run Pair ./...          # also prints how many outputs there are, and how many are missed
//
// A writer is one way in which a library prints a text, such as encoding/json, or html/template in an attribute. The tests print each
// value of testdata/values.json with each writer, and mask the output with a Redactor that knows the value. The result must have the mark,
// and no part of the value, neither as it is nor as the writer printed it. The tests do so for single writers, for all pairs, for random
// triples, and for all places at which a Write may split a text.
//
// To add:
//
//   - a writer in Go: add a line to the table in writers_test.go.
//   - a writer in Python, PHP or JavaScript: add a line to testdata/generate.py, .php or .js, run testdata/generate.sh, and set in
//     data_test.go whether it prints JSON or encodes bytes.
//   - a value: add it to testdata/values.json, and run testdata/generate.sh.
//
// # Limits
//
// misses_test.go has the forms that a Redactor is known to miss. It fails if that changes.
package goldentest

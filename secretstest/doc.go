// Package secretstest is for tests of code that reads secrets: a fake backend, conformance cases for authors of backends,
// and assertions that a value shows nowhere.
//
// # A fake backend
//
// [NewBackend] holds documents in memory. Code under test gets a real [secrets.Client] around it, and the test tells the
// backend what goes wrong:
//
//	backend := secretstest.NewBackend(map[string]string{
//		"database": `{"user":"app","password":"correct horse"}`,
//	})
//	client, err := secrets.New(backend)
//	…
//	backend.Fail(secrets.ErrUnavailable)
//	…
//	if backend.Calls() != 1 { … }
package secretstest

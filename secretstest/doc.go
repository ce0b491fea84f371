// Package secretstest is for tests of code that reads secrets: a fake backend, assertions that a value shows nowhere, and
// the cases that a backend of your own must pass. It needs nothing but the standard library.
//
// # Test code that reads secrets
//
// [NewBackend] holds documents in memory. The code under test gets a real [secrets.Client] around it, with the layers that
// the program uses or none, and the test tells the backend what happens:
//
//	backend := secretstest.NewBackend(map[string]string{
//		"database": `{"user":"app","password":"correct horse"}`,
//	})
//	client, err := secrets.New(backend)
//	…
//	backend.Set("database", `{"user":"app","password":"battery staple"}`) // a rotation
//	backend.FailPath("database", secrets.ErrPermissionDenied)             // a revocation
//	backend.Fail(secrets.ErrUnavailable)                                  // an outage
//	backend.Recover()
//	…
//	if backend.Calls() != 1 { … }
//
// With [WithBatch], the fake is a backend whose server takes several documents in a call, and [Backend.Batches] tells them.
//
// Latency, blocks and leases go by the time of package time, so that in a bubble of testing/synctest an hour takes no time.
//
// # Test that a value shows nowhere
//
// [AssertNoLeak] looks for a secret in logs, errors and any other value, in every form in which a program might let it
// out:
//
//	const secret = "canary-7f3Kq9ZxWv2m"
//	…
//	secretstest.AssertNoLeak(t, secret, err, logs.String(), response.Body.Bytes())
//
// # Compare values that hold Secrets
//
// [Diff] compares structs, maps and slices deeply, and shows no Secret:
//
//	if diff := secretstest.Diff(got, want); diff != "" {
//		t.Error(diff)
//	}
//
// # Test a backend
//
// [Run] has more than a hundred cases for what [secrets.Backend] promises, directly, through a [secrets.Client], and wrapped as
// programs wrap backends. A [Factory] makes a backend that holds given
// documents, and options say what else it can do:
//
//	func TestConformance(t *testing.T) {
//		secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
//			return mybackend.New(serve(t, documents))
//		},
//			secretstest.WithBinary(),
//			secretstest.WithFailure(secrets.ErrPermissionDenied, func(t *testing.T, secret string) (secrets.Backend, string) {
//				return mybackend.New(refuse(t, secret)), "database"
//			}),
//		)
//	}
package secretstest

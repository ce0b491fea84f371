// Package secretstest tests code that reads secrets. It has a fake backend, leak assertions, a comparison that shows no secret, and a
// conformance suite for backends. It imports only the standard library and package secrets.
//
// # Test code that reads secrets
//
// [NewBackend] returns a fake that holds documents in memory. Pass it to [secrets.New], alone or with the layers that the program uses:
//
//	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"correct horse"}`})
//	client, err := secrets.New(backend)
//	…
//	password, err := client.Get(ctx, "database#password") // "correct horse"
//
// The test then controls what happens next:
//
//	backend.Set("database", `{"password":"battery staple"}`)         // a rotation
//	backend.FailPath("database", secrets.ErrPermissionDenied)        // a revoked permission
//	backend.Fail(secrets.ErrUnavailable)                             // an outage
//	backend.Recover()                                                // the end of FailPath and Fail
//	backend.Delete("database")                                       // ErrDeleted
//	backend.Remove("database")                                       // ErrNotFound
//	backend.SetVersion("database", "previous", `{"password":"old"}`) // for "?version=previous"
//	backend.SetLease("database", time.Hour)                          // each answer expires after an hour
//	backend.SetLatency(time.Second)                                  // each call takes a second
//	release := backend.Block()                                       // calls wait until release()
//	backend.OnCall(func(ctx context.Context, refs []secrets.Ref) error { … })
//
// and checks what the code did:
//
//	backend.Calls()             // calls of the backend
//	backend.Fetches("database") // fetches of one document
//	backend.Batches()           // the keys of each batch call; see WithBatch
//	backend.Closes()            // calls of Close
//
// Latency, blocks and leases use package time. In a testing/synctest bubble, an hour passes at once.
//
// # Test that a value does not leak
//
// [AssertNoLeak] searches logs, errors and other values for a secret: plain, encoded or in part.
//
//	const secret = "canary-7f3Kq9ZxWv2m"
//	…
//	secretstest.AssertNoLeak(t, secret, err, logs.String(), response.Body.Bytes())
//
// # Compare values that hold Secrets
//
// [Diff] compares structs, maps and slices deeply. It never prints the value of a Secret.
//
//	if diff := secretstest.Diff(got, want); diff != "" {
//		t.Error(diff)
//	}
//
// # Test a backend
//
// [Run] is the conformance suite for [secrets.Backend]. It has more than a hundred cases: direct calls, calls through a [secrets.Client],
// and calls of a backend that programs have wrapped. A [Factory] makes a backend that holds given documents. Options declare what else the
// backend supports:
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
//
// # Limits
//
// The fake has no fields in paths: unlike Vault, it reads "database/password" as a document of that name. Use "database#password" in code
// that must work with both. For the real backends, packages awstest and vaulttest serve AWS Secrets Manager and Vault on loopback.
package secretstest

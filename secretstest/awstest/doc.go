// Package awstest is AWS Secrets Manager for tests: a server on loopback that speaks the wire protocol of the service, so
// that the code under test talks to it with the real AWS SDK. It needs nothing but the standard library.
//
//	server := awstest.NewServer(t)
//	server.Put("prod/db", `{"user":"app","password":"correct horse"}`)
//	server.Setenv(t) // the SDK's default configuration finds the server, its key pair and region, and nothing else
//	…
//	server.Put("prod/db", `{"user":"app","password":"battery staple"}`)    // a rotation
//	server.Deny("GetSecretValue", "prod/db")                              // a revocation
//	server.Fail("*", awstest.Fault("InternalServiceError", ""))           // an outage
//	server.FailNext(2, "*", awstest.Fault("ThrottlingException", ""))     // throttling, for two requests
//	server.Recover()
//	…
//	if server.Count("BatchGetSecretValue") != 5 { … }
//
// Without Setenv, an SDK client takes the server's URL as its BaseEndpoint, Credentials as its static credentials, and
// Region as its region.
//
// # What is modelled
//
// The request: POST /, its content type, X-Amz-Target, the body, and Signature Version 4, which is verified: another secret
// key than that of [Server.Credentials] is an InvalidSignatureException, another key id or session token an
// UnrecognizedClientException, and [Server.ExpireSession] makes it an ExpiredTokenException.
//
// CreateSecret, PutSecretValue, GetSecretValue, BatchGetSecretValue by SecretIdList, DescribeSecret and UpdateSecretVersionStage, which
// are what readers and a rotation call: names, complete and partial ARNs with their six random characters, versions and the staging
// labels that move between them, text and binary values, secrets without a value, secrets marked for deletion, pages, the limits of the
// service model on names, ids, labels, sizes and counts, and idempotency by ClientRequestToken. A failure of the caller has the status
// 400, not-found included, one of the service 500.
//
// Permissions as far as a client sees them: of a whole operation and of single secrets, by [Server.Deny].
// BatchGetSecretValue needs its own, and GetSecretValue of each secret, whose denial stands in Errors.
//
// Regions, in the account 123456789012. A request belongs to the region that it is signed for; [Server.In] has the others.
//
// What the service does wrong, by [Server.Fail], [Server.FailNext] and [Server.Handle]: any status, header and body,
// truncated or empty, stalls, and connections that are reset. [Server.SetPages] and [Server.RepeatToken] spoil paging.
//
// # What is not modelled
//
//   - Other operations, such as ListSecrets, DeleteSecret, RotateSecret and GetRandomPassword: they are an UnknownOperationException.
//     [Server.Handle] can answer them; [Server.Delete] marks a secret for deletion.
//   - Filters of BatchGetSecretValue, descriptions and tags.
//   - KMS. A DecryptionFailure is what a test tells the server.
//   - Eventual consistency: every change is seen at once. Secrets whose recovery window is over stay,
//     marked for deletion, and versions without a label stay for as long as the server lives.
//   - Quotas and rates; a throttled answer is what a test tells the server.
//   - IAM's conditions and the policies of other accounts: an ARN of another account is an AccessDeniedException.
//   - Managed secrets, and TLS.
//
// # What is not verified against AWS
//
// Where neither the service model nor a recorded answer of AWS says what happens, the server does what catches more faults in
// a client:
//
//   - Values of a batch come in the order of their names, not of the request, and one secret that is asked for twice, by
//     one id or two, comes once. An id with an error comes once, too.
//   - A partial ARN is one that lacks the hyphen and the six characters at its end, and nothing else of it. As the service
//     does, the server takes a partial ARN whose name ends in such a hyphen and six characters for a complete one.
//   - A name with a character that names cannot have is a ValidationException, in a batch an InvalidParameterException of that id.
//   - An ARN of another region than that of the request is a ResourceNotFoundException.
//   - DescribeSecret answers for a secret that is marked for deletion.
//   - A page after the first needs the parameters of the first.
//   - Texts of errors are those of AWS where they are known. Do not parse them, but for the "marked for deletion" of an
//     InvalidRequestException, which nothing else tells from others.
//   - AWS's answers may have other headers than Content-Type, Date and X-Amzn-Requestid.
//
// The package is for tests: it neither encrypts what it holds nor hides it, and serves no one but loopback. Since it works
// over a network, it cannot stand in a bubble of testing/synctest.
package awstest

// Package awstest runs a fake AWS Secrets Manager on loopback. It speaks the wire protocol of the service, so tests use the real AWS SDK.
// It imports only the standard library.
//
//	server := awstest.NewServer(t)
//	server.Put("prod/db", `{"user":"app","password":"correct horse"}`)
//	server.Setenv(t) // the SDK's default configuration finds only this server, its region and its keys
//	…
//	server.Put("prod/db", `{"user":"app","password":"battery staple"}`) // a rotation
//	server.Deny("GetSecretValue", "prod/db")                            // a revoked permission
//	server.Fail("*", awstest.Fault("InternalServiceError", ""))         // an outage
//	server.FailNext(2, "*", awstest.Fault("ThrottlingException", ""))   // throttling, for two requests
//	server.Recover()                                                    // the end of Fail and FailNext
//	…
//	if server.Count("BatchGetSecretValue") != 5 { … }
//
// Without Setenv, pass [Server.URL] to the SDK client as its BaseEndpoint, [Server.Credentials] as static credentials, and [Server.Region]
// as its region.
//
// # What it does
//
// Requests: the server checks POST /, the content type, X-Amz-Target, the body and Signature Version 4. A secret key other than that of
// [Server.Credentials] fails with InvalidSignatureException, another key id or session token with UnrecognizedClientException. After
// [Server.ExpireSession], every request fails with ExpiredTokenException.
//
// Operations: CreateSecret, PutSecretValue, GetSecretValue, BatchGetSecretValue by SecretIdList, DescribeSecret and
// UpdateSecretVersionStage. These are the ones that readers and a rotation call. They cover:
//
//   - names, and complete and partial ARNs with their six random characters;
//   - versions, and the staging labels that move between them;
//   - text and binary values, secrets without a value, and secrets marked for deletion;
//   - pages, and idempotency by ClientRequestToken;
//   - the limits of the service model on names, ids, labels, sizes and counts.
//
// A client error, including not found, has status 400; a service error has status 500 or 503.
//
// Permissions: [Server.Deny] denies an operation for all secrets or for some. BatchGetSecretValue needs its own permission and
// GetSecretValue for each secret; it reports a denied secret in Errors.
//
// Regions: the account is 123456789012. The region of the signature selects the secrets; [Server.In] adds regions.
//
// Failures: [Server.Fail], [Server.FailNext] and [Server.Handle] return any status, header and body. They can truncate or omit the body,
// stall, or reset the connection. [Server.SetPages] and [Server.RepeatToken] return unusual pages.
//
// # Limits
//
// The server does not model:
//
//   - Other operations, such as ListSecrets, DeleteSecret, RotateSecret and GetRandomPassword. They fail with UnknownOperationException.
//     [Server.Handle] can answer them; [Server.Delete] marks a secret for deletion.
//   - Filters of BatchGetSecretValue, descriptions and tags.
//   - KMS. Use [Server.Fail] for a DecryptionFailure.
//   - Eventual consistency: every change is visible at once. Secrets past their recovery window remain, marked for deletion. Versions
//     without a label remain until the server stops.
//   - Quotas and rates. Use [Server.Fail] for throttling.
//   - IAM conditions and policies of other accounts: an ARN of another account fails with AccessDeniedException.
//   - Managed secrets, and TLS.
//
// Where neither the service model nor a recorded AWS response defines the behaviour, the server does what exposes more bugs in a client:
//
//   - A batch returns values in the order of their names, not of the request. A secret requested twice, by one id or two, is returned
//     once; so is an id with an error.
//   - A partial ARN lacks only the final hyphen and six characters. Like the service, the server reads a partial ARN whose name ends in a
//     hyphen and six characters as a complete one.
//   - A name with an invalid character fails with ValidationException; in a batch, that id fails with InvalidParameterException.
//   - An ARN of another region fails with ResourceNotFoundException.
//   - DescribeSecret works for a secret that is marked for deletion.
//   - A later page needs the parameters of the first one.
//   - Error messages are those of AWS where known. Do not parse them, except for "marked for deletion" in an InvalidRequestException:
//     nothing else identifies that case.
//   - AWS may send other headers than Content-Type, Date and X-Amzn-Requestid.
//
// Secrets are held unencrypted; the server listens only on loopback. It uses a network, so it does not work in a testing/synctest bubble.
package awstest

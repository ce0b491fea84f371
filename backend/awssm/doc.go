// Package awssm reads secrets from AWS Secrets Manager.
//
//	backend, err := awssm.New(ctx, awssm.WithPrefix("prod/shop/"))
//	…
//	client, err := secrets.New(backend, middleware.Standard())
//	…
//	password, err := client.Get(ctx, "database#password") // a field of the JSON in prod/shop/database
//
// # Keys
//
// With the prefix P:
//
//	database                        the whole secret P+database
//	database/password               the whole secret P+database/password
//	database#password               the field password of the JSON in P+database
//	database?version=AWSPREVIOUS    the version with that stage; default: AWSCURRENT
//	database?version=ID             the version with that VersionId
//	arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-AbCdEf#password
//	                                a secret by its ARN, without the prefix; the hyphen and the last 6 characters are
//	                                optional. The request goes to the region of the ARN
//
// A version of 32 to 64 characters is a VersionId. If the secret has no such version, it is a stage, which takes a second call. So every
// secrets.Meta.Version can be pinned.
//
// A key has no slash at its beginning or end, and no empty segment. WithPrefix("/") reads /prod/db by the key prod/db, and
// WithPrefix("a//") reads a//b by the key b. A name that ends in a slash is read by its complete ARN. The ARN of a name that itself ends in
// a hyphen and 6 letters or digits, such as my-secret, must be complete too: the service takes this end for the end of the ARN.
//
// A SecretString is returned byte for byte, and a SecretBinary as its bytes. secrets.Meta.Version is the VersionId. CreatedAt is the
// CreatedDate: a rotation creates a version as AWSPENDING, some time before it becomes AWSCURRENT.
//
// # Configuration
//
// The backend uses the SDK, github.com/aws/aws-sdk-go-v2. [New] takes region, endpoint and credentials from the SDK's variables and files,
// such as AWS_REGION, and makes no network calls. [WithRegion] and [WithEndpoint] override these, and [WithConfig] and [WithClient] replace
// them. [WithPrefix] sets the prefix of secret names, and [WithName] renames the backend in errors.
//
// The sources of credentials, in the order of the SDK: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the web identity of
// AWS_WEB_IDENTITY_TOKEN_FILE; the profile of AWS_PROFILE; the endpoint of a container; the metadata service of an instance. If none has
// credentials, the error lists what was tried. A call waits up to 3 seconds for the metadata service; AWS_EC2_METADATA_DISABLED=true turns
// it off.
//
// If a file of the profile exists and cannot be read, New returns an error, unless keys or a web identity come first: the SDK would skip
// the file and use another identity.
//
// # Calls
//
// A Get is one GetSecretValue, and so is a secrets.Client.Has, which discards the value. A GetMany of three secrets or more is one
// BatchGetSecretValue per 20 secrets. It needs the permission secretsmanager:BatchGetSecretValue in addition to
// secretsmanager:GetSecretValue. If a batch is denied, the backend reads the secrets of that region one by one from then on; [WithoutBatch]
// avoids the denied call. Pinned versions, and secrets without an answer in a batch, are read one by one too. [WithCoalescing] makes
// batches of concurrent Gets.
//
// A call is tried up to three times, until the deadline of its context or for 30 seconds. The layers above handle longer outages.
//
// # Freshness, rotation
//
// Every Fetch calls the service; use middleware.Standard for a cache.
//
// A rotation changes the password in the database at setSecret, and moves AWSCURRENT to the new version at finishSecret. In between, for
// about a minute, only AWSPENDING works for a secret with one user. If a consumer rejects a secret, the backend offers the stages
// AWSPENDING and AWSPREVIOUS ([secrets.Info] Alternates). Each is read with its own GetSecretValue. A stage that no version has is
// secrets.ErrNotFound.
//
// To read AWSPENDING, the policy must allow secretsmanager:GetSecretValue without a condition on secretsmanager:VersionStage, or with one
// that lists AWSCURRENT, AWSPENDING and AWSPREVIOUS. If it lists AWSCURRENT alone, the others are secrets.ErrPermissionDenied. See
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html.
//
// When the service or STS refuses the credentials, the backend reads the variables and files again, at most every 5 seconds. If the keys
// have changed, it repeats the call once. So keys that are rotated in ~/.aws/credentials are used after a refusal. With [WithConfig] or
// [WithClient], the backend invalidates an aws.CredentialsCache instead, so the SDK calls the program's provider again.
//
// # Errors
//
// Each is a [secrets.Error] of one class, or the error of the context. A detail contains only this package's text and the code of the AWS
// error. Messages of the service are dropped because they contain principals and ARNs, and errors of the SDK because they may contain the
// answer.
//
//	secrets.ErrNotFound          no such secret, no value yet, or no such version
//	secrets.ErrDeleted           the secret is marked for deletion
//	secrets.ErrPermissionDenied  the policies do not allow the read or the decryption; also a missing secret that they do not cover
//	secrets.ErrUnauthenticated   no credentials, or expired or wrong ones
//	secrets.ErrUnavailable       the network, throttling, an error of the service, a proxy that refuses the request, a source of
//	                             credentials that does not answer
//	secrets.ErrInvalidKey        a name that no secret can have, an invalid ARN, a stage of another version
//	secrets.ErrMalformed         an answer that is empty, contradicts itself, or is for another secret, version or stage
//
// # Limits
//
// A name has at most 512 characters, and an answer 7.5 MiB; a larger answer is [secrets.ErrMalformed]. AWS allows 10,000 single reads and
// 100 batches a second for an account and region.
//
// The backend recovers from a panic of the program's own credentials provider. If the provider is wrapped in an aws.CredentialsCache, as in
// the default configuration, a panic ends the process: the SDK panics again on a goroutine of its own.
package awssm

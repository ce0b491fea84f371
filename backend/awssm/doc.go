// Package awssm is the backend of AWS Secrets Manager.
//
//	backend, err := awssm.New(ctx, awssm.WithPrefix("prod/shop/"))
//	…
//	client, err := secrets.New(backend, middleware.Standard())
//	…
//	password, err := client.Get(ctx, "database#password") // a field of the JSON in prod/shop/database
//
// It speaks through the SDK, github.com/aws/aws-sdk-go-v2, and finds region, endpoint and credentials as every program with the SDK
// does. [New] makes no network calls.
//
// # Credentials
//
// The sources, in the order of the SDK: the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the web identity of
// AWS_WEB_IDENTITY_TOKEN_FILE; the profile of AWS_PROFILE; the container; the metadata service of an instance. If there are none, the error
// lists what was looked at. A call waits up to 3 seconds for the metadata service; AWS_EC2_METADATA_DISABLED=true turns it off.
//
// When the service or STS refuses the credentials, the backend reads the variables and files again, at most every 5 seconds, and makes
// the call once more if the keys are others. So keys that are rotated in ~/.aws/credentials are used after a refusal. With [WithConfig] and
// [WithClient], the backend asks the program's provider again where the SDK caches what it gave (aws.CredentialsCache).
//
// A file of the profile that exists and cannot be read is an error of New, unless keys or a web identity come before it: the SDK would
// pass over it, and use another identity.
//
// # Keys
//
// With the prefix P:
//
//	database                        the whole secret P+database
//	database/password               the whole secret P+database/password
//	database#password               the field password of the JSON in P+database
//	database?version=AWSPREVIOUS    the version with that stage; by default, AWSCURRENT
//	database?version=ID             the version with that VersionId
//	arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-AbCdEf#password
//	                                a secret by its ARN, without the prefix; the hyphen and the 6 characters at the end may be
//	                                left out. The request goes to the region of the ARN
//
// The service takes a name that itself ends in a hyphen and 6 letters or digits, as my-secret does, for a complete ARN: give
// the complete ARN of such a secret.
//
// A version of 32 to 64 characters is a VersionId. If the secret has no such version, it is a stage; that takes a second call. So what
// secrets.Meta.Version says can always be pinned.
//
// A key has no slash at its beginning or end, and no empty segment. WithPrefix("/") reads /prod/db by the key prod/db, and
// WithPrefix("a//") reads a//b by the key b. A name that ends in a slash is read by its complete ARN.
//
// A SecretString is returned byte for byte, and a SecretBinary as its bytes. secrets.Meta.Version is the VersionId. CreatedAt
// is its CreatedDate: if a rotation writes it as AWSPENDING, it is older than its time as AWSCURRENT.
//
// # Calls
//
// A Get is one GetSecretValue. A GetMany of three secrets and more is one BatchGetSecretValue for each 20 of them, which is
// a permission of its own, secretsmanager:BatchGetSecretValue, beside secretsmanager:GetSecretValue: where it is refused,
// secrets of that region are read one by one from then on; [WithoutBatch] spares the call that finds out. What a batch leaves unanswered,
// and secrets of a pinned version, are read one by one too. [WithCoalescing] makes batches of concurrent Gets.
//
// secrets.Client.Has reads the value and drops it: the permission, and the answer, are those of a Get.
//
// The backend keeps a panic of a program's own provider of credentials from its callers. Within aws.CredentialsCache, where the
// default configuration puts providers, one ends the process: the SDK raises it anew on a goroutine of its own.
//
// A call is tried three times in all, within the time that its context has, or 30 seconds. What lasts longer is for the
// layers above: the cache with its stale values and its back-off, and the next backend.
//
// # Rotation
//
// A rotation changes the password in the database at setSecret, and moves AWSCURRENT to the new version at finishSecret. In between, about
// a minute, a secret with one user has only one version that works, AWSPENDING. When a consumer refuses a secret, the backend names
// the stages AWSPENDING and AWSPREVIOUS as worth a try ([secrets.Info] Alternates). Each is read with a GetSecretValue of its own. A stage
// that no version has is secrets.ErrNotFound.
//
// To read AWSPENDING, the program needs secretsmanager:GetSecretValue without a condition on secretsmanager:VersionStage, or with one
// that names AWSCURRENT, AWSPENDING and AWSPREVIOUS. A policy that names AWSCURRENT alone makes the others secrets.ErrPermissionDenied. See
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html.
//
// # Errors
//
// Each is a [secrets.Error] of one class, or the error of the context. The Detail is of this package's own words and the
// name of AWS's error: no message of the service, whose texts hold principals and ARNs, and no error of the SDK, which may
// hold the answer itself.
//
//	secrets.ErrNotFound          there is no such secret, no value yet, or no such version
//	secrets.ErrDeleted           the secret is marked for deletion
//	secrets.ErrPermissionDenied  the policies do not allow the read or the decryption. A missing secret that they do not
//	                             cover is this too
//	secrets.ErrUnauthenticated   no credentials, or expired or wrong ones
//	secrets.ErrUnavailable       the network, throttling, an error of the service, a proxy that refuses the request, a source of
//	                             credentials that does not answer
//	secrets.ErrInvalidKey        a name that no secret can have, an ARN that is none, a stage that is not of the version
//	secrets.ErrMalformed         an answer that is empty, contradicts itself, or is for another secret, version or stage
package awssm

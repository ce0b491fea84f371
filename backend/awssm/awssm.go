package awssm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets"
)

// Backend reads the secrets of one account and region of AWS Secrets Manager, and, by ARN, of others. It is safe for
// concurrent use.
type Backend struct {
	name        string
	prefix      string
	region      string
	call        caller
	noBatch     bool     // none is to be used
	batchDenied sync.Map // of a region, if it has denied one
	batchers    batchers
	closed      atomic.Bool
}

// New returns a Backend with the default configuration of the SDK, as far as no option says otherwise. It looks at the
// environment and the files of the configuration, and contacts nobody: credentials are got with the first secret. The error
// holds every fault of the options, joined: no region, an endpoint that begins with http:// and is not of this machine, a
// client that would log bodies.
func New(ctx context.Context, opts ...Option) (*Backend, error) {
	c := newSettings(opts)
	b := &Backend{name: c.name, prefix: c.prefix, noBatch: c.single}
	b.call, b.region = c.connect(ctx)
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	b.batchers = batchers{window: c.window, call: b.fetchAll}
	return b, nil
}

// Info describes the backend.
func (b *Backend) Info() secrets.Info {
	info := secrets.Info{Name: b.name, Batch: maxIDs, Locate: b.locate, Endpoint: b.endpoint, Alternates: alternates}
	if b.noBatch {
		info.Batch = 1
	}
	return info
}

// endpoint returns the region that ref is in: regions fail one by one.
func (b *Backend) endpoint(ref secrets.Ref) string {
	if q, err := b.query(ref); err == nil && q.region != "" {
		return q.region
	}
	return b.region
}

// alternates returns ref with the stages of a rotation. Where a secret has one user, only AWSPENDING works from setSecret, which changes
// the password, to finishSecret, which makes the new version the current one. AWSPREVIOUS is for a consumer that has not learned of the
// new password yet: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotation-strategy.html and, for the steps,
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html.
//
// A version ID does not tell which stages it has, so that an alternate may be the version that ref names.
func alternates(ref secrets.Ref) []secrets.Ref {
	var others []secrets.Ref
	for _, stage := range []string{pendingStage, previousStage} {
		if stage != ref.Version {
			other := ref
			other.Version = stage
			others = append(others, other)
		}
	}
	return others
}

// Fetch returns the secret at ref.Path behind the prefix, or with that ARN: its SecretString, byte for byte, or the bytes of
// its SecretBinary. ref.Version is a VersionId if the secret has it, and else a stage; by default, it is the stage AWSCURRENT.
// Meta.Version is the VersionId. Three secrets and more that one GetMany of a Client asks for are read with one BatchGetSecretValue
// for each 20 of them; those of a version, and those that a batch does not bring, are read one by one.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	q, err := b.query(ref)
	switch {
	case err != nil:
		return secrets.Secret{}, err
	case b.closed.Load():
		return secrets.Secret{}, errClosed()
	case b.batches(q):
		return b.batchers.of(q.region).Fetch(ctx, ref)
	default:
		return b.get(ctx, q)
	}
}

// get reads one secret. A version that may be a VersionId is one if the secret has it, and else a stage: what Meta.Version says can always
// be pinned.
func (b *Backend) get(ctx context.Context, q query) (secrets.Secret, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	s, err := b.read(ctx, q)
	class := secrets.Class(err)
	if q.versionID == "" || class != secrets.ErrNotFound && class != secrets.ErrInvalidKey {
		return s, err
	}
	q.versionID, q.stage = "", q.versionID
	s, errOfStage := b.read(ctx, q)
	if class == secrets.ErrNotFound && secrets.Class(errOfStage) == class {
		return s, err // which says of the version what is true of the stage, too
	}
	return s, errOfStage
}

// read reads one secret. Code of the program runs within the SDK, such as a provider of credentials, and may panic.
func (b *Backend) read(ctx context.Context, q query) (s secrets.Secret, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fail(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T", p)) // its text may quote a value
		}
	}()
	input := &secretsmanager.GetSecretValueInput{SecretId: &q.id}
	if q.versionID != "" {
		input.VersionId = &q.versionID
	}
	if q.stage != "" {
		input.VersionStage = &q.stage
	}
	var output *secretsmanager.GetSecretValueOutput
	err = b.call(ctx, q.region, func(ctx context.Context, client *secretsmanager.Client) (err error) {
		output, err = client.GetSecretValue(ctx, input)
		return err
	})
	if err != nil {
		return secrets.Secret{}, b.placed(q, failure(ctx, err))
	}
	return q.secret(answer{
		name: output.Name, arn: output.ARN, version: output.VersionId, stages: output.VersionStages,
		created: output.CreatedDate, text: output.SecretString, bytes: output.SecretBinary,
	})
}

// placed adds to an absence or a denial where it was looked for: neither the prefix nor the region is in the key.
func (b *Backend) placed(q query, err error) error {
	e, ok := errors.AsType[*secrets.Error](err)
	if !ok || q.isARN() || !errors.Is(err, secrets.ErrNotFound) && !errors.Is(err, secrets.ErrPermissionDenied) {
		return err
	}
	return fail(e.Err, fmt.Sprintf("%s: it is %s in %s", e.Detail, q.id, b.region))
}

// bound returns ctx with a deadline.
func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Close makes later requests [secrets.ErrClosed]. Those that are under way end with their contexts.
func (b *Backend) Close() error {
	b.closed.Store(true)
	return nil
}

var _ secrets.Backend = (*Backend)(nil)

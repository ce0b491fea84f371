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

// Backend reads the secrets of one AWS account and region, and those of others by ARN. It is safe for concurrent use.
type Backend struct {
	name        string
	prefix      string
	region      string
	call        caller
	noBatch     bool     // see WithoutBatch
	batchDenied sync.Map // the regions that have denied a batch
	batchers    batchers
	closed      atomic.Bool
}

// New returns a Backend with the default configuration of the SDK, changed by opts. It reads variables and configuration files and makes
// no network calls; the first Fetch gets credentials. The error joins all faults, such as no region, an http:// endpoint on another
// machine, or a client that logs bodies.
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

// endpoint returns the region of ref: each region fails independently.
func (b *Backend) endpoint(ref secrets.Ref) string {
	if q, err := b.query(ref); err == nil && q.region != "" {
		return q.region
	}
	return b.region
}

// alternates returns ref with the stages of a rotation. For a secret with one user, only AWSPENDING works between setSecret, which changes
// the password, and finishSecret, which makes the new version current. AWSPREVIOUS is for a consumer that does not accept the new password
// yet: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotation-strategy.html and, for the steps,
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html.
//
// The stages of a version ID are not known, so an alternate may be the version of ref.
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

// Fetch returns the secret with the name prefix+ref.Path, or with the ARN in ref.Path: its SecretString byte for byte, or the bytes of its
// SecretBinary. ref.Version is a VersionId if the secret has it, else a stage. Default: the stage AWSCURRENT. Meta.Version is the
// VersionId. A GetMany of three secrets or more uses one BatchGetSecretValue per 20 secrets; pinned versions, and secrets without an
// answer in a batch, are read one by one.
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

// get reads one secret. A version that may be a VersionId is one if the secret has it, else a stage, so every Meta.Version can be pinned.
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
		return s, err // its text covers the version and the stage
	}
	return s, errOfStage
}

// read calls GetSecretValue for q. The SDK runs code of the program, such as a credentials provider, which may panic.
func (b *Backend) read(ctx context.Context, q query) (s secrets.Secret, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fail(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T", p)) // no text: it may contain a value
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

// placed adds the full name and the region to a not-found or a denial: the key does not contain them.
func (b *Backend) placed(q query, err error) error {
	e, ok := errors.AsType[*secrets.Error](err)
	if !ok || q.isARN() || !errors.Is(err, secrets.ErrNotFound) && !errors.Is(err, secrets.ErrPermissionDenied) {
		return err
	}
	return fail(e.Err, fmt.Sprintf("%s; the full name is %s in %s", e.Detail, q.id, b.region))
}

// bound returns ctx with a deadline: its own, or one after callTimeout.
func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Close makes later requests return [secrets.ErrClosed]. Requests in flight end with their contexts.
func (b *Backend) Close() error {
	b.closed.Store(true)
	return nil
}

var _ secrets.Backend = (*Backend)(nil)
